//! Readers that take nothing: a connection of theirs ends, so that it keeps no place.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long the other side may take nothing of what is sent to it: a network that loses packets for a while is no such side.
pub(super) const TAKE_WAIT: Duration = Duration::from_secs(60);

/// A stream whose writes fail once the other side took nothing for [`TAKE_WAIT`].
pub(super) struct Patient<S> {
    stream: S,
    end: Pin<Box<Sleep>>,
    /// Whether something waits to be taken, so that `end` counts.
    is_waiting: bool,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            end: Box::pin(sleep(TAKE_WAIT)),
            is_waiting: false,
        }
    }

    /// Passes on what a write gave, or gives up if it waits for too long.
    fn within<T>(
        &mut self,
        given: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if given.is_ready() {
            self.is_waiting = false;
            return given;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            self.end.as_mut().reset(Instant::now() + TAKE_WAIT);
        }
        ready!(self.end.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let given = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within(given, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let given = Pin::new(&mut self.stream).poll_flush(context);
        self.within(given, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let given = Pin::new(&mut self.stream).poll_shutdown(context);
        self.within(given, context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_for_a_minute_is_left_and_who_takes_a_little_is_not() {
        let (server, mut reader) = duplex(8);
        let mut server = Patient::new(server);
        let begun = Instant::now();
        let sent = tokio::spawn(async move { server.write_all(&[0; 64]).await });
        for _ in 0..3 {
            sleep(TAKE_WAIT - Duration::from_secs(1)).await;
            reader.read_exact(&mut [0; 8]).await.unwrap();
        }
        let failure = sent.await.unwrap().unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::TimedOut);
        let took = begun.elapsed();
        assert!(took >= TAKE_WAIT * 4 - Duration::from_secs(3) && took < TAKE_WAIT * 5);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_nothing_to_take_is_not_left() {
        let (server, mut reader) = duplex(8);
        let mut server = Patient::new(server);
        server.write_all(b"a").await.unwrap();
        sleep(TAKE_WAIT * 3).await;
        server.write_all(b"b").await.unwrap();
        let mut both = [0; 2];
        reader.read_exact(&mut both).await.unwrap();
        assert_eq!(&both, b"ab");
    }
}
