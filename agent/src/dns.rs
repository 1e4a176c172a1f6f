//! One DNS query, the same for everybody, and whether something is its answer (RFC 1035).
//!
//! The question is the service of the API server under the usual cluster domain: CoreDNS answers it out of its own cache,
//! asking nobody else, and it tells nothing about who asks. What the answer says does not matter; that there is one does.

use std::time::Duration;

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{close::Close, limits::DNS_MESSAGE_MAX};

/// The labels of the name that is asked for.
const NAME: [&str; 5] = ["kubernetes", "default", "svc", "cluster", "local"];

/// Type A, class IN.
const TYPE_AND_CLASS: [u8; 4] = [0, 1, 0, 1];

/// Length of a header in bytes.
const HEADER_LENGTH: usize = 12;

/// The bit that tells an answer from a query, and the four of the kind of query.
const ANSWER_AND_KIND: u8 = 0b1111_1000;

/// An answer to an ordinary query, under [`ANSWER_AND_KIND`].
const ANSWER: u8 = 0b1000_0000;

/// Why a connection gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryFailure {
    /// Nothing came within the deadline.
    Silent,
    /// The connection was closed or reset.
    Closed,
    /// What came is no answer to the query.
    Malformed,
}

/// The query with this id; recursion is not desired, so that a resolver that does not know the name asks nobody.
pub fn query(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut message = vec![high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(question());
    message
}

/// The question of every query.
fn question() -> Vec<u8> {
    let label = |label: &&str| {
        // Invariant: the labels of NAME are shorter than 64 bytes.
        let length = u8::try_from(label.len()).unwrap_or(0);
        std::iter::once(length)
            .chain(label.bytes())
            .collect::<Vec<_>>()
    };
    let mut question: Vec<u8> = NAME.iter().flat_map(label).collect();
    question.push(0);
    question.extend(TYPE_AND_CLASS);
    question
}

/// The response code of `message`, 0 to 15, if it answers the query with this id; none for anything else.
///
/// The question must come back as it was asked: an id alone is of two bytes, and an answer without a question, as some give
/// that report an error, shows nothing of who was asked what.
pub fn answer(message: &[u8], id: u16) -> Option<u8> {
    let (header, rest) = message.split_at_checked(HEADER_LENGTH)?;
    let &[
        id_high,
        id_low,
        kind,
        code,
        questions_high,
        questions_low,
        ..,
    ] = header
    else {
        return None;
    };
    let ours = u16::from_be_bytes([id_high, id_low]) == id && kind & ANSWER_AND_KIND == ANSWER;
    let repeated =
        u16::from_be_bytes([questions_high, questions_low]) == 1 && rest.starts_with(&question());
    (ours && repeated).then_some(code & 0b1111)
}

/// Asks the query with this id on an open connection, waits at most `deadline`, and closes as `close` says.
///
/// # Errors
/// [`QueryFailure`] when no answer came.
pub async fn ask(
    mut stream: TcpStream,
    id: u16,
    deadline: Duration,
    close: Close,
) -> Result<u8, QueryFailure> {
    match close {
        Close::Normal => {}
        Close::Reset => SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .map_err(|_| QueryFailure::Closed)?,
    }
    timeout(deadline, exchange(&mut stream, id))
        .await
        .unwrap_or(Err(QueryFailure::Silent))
}

/// Sends the query and reads one message; each has its length before it.
async fn exchange(stream: &mut TcpStream, id: u16) -> Result<u8, QueryFailure> {
    let closed = |_| QueryFailure::Closed;
    let query = query(id);
    let length = u16::try_from(query.len()).map_err(|_| QueryFailure::Malformed)?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend(query);
    stream.write_all(&message).await.map_err(closed)?;
    let length = usize::from(stream.read_u16().await.map_err(closed)?);
    if length > DNS_MESSAGE_MAX {
        return Err(QueryFailure::Malformed);
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await.map_err(closed)?;
    answer(&message, id).ok_or(QueryFailure::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// An answer to the query 7 with this response code.
    fn answered(code: u8) -> Vec<u8> {
        let mut message = query(7);
        message[2] = 0x85;
        message[3] = 0x80 | code;
        message
    }

    #[test]
    fn the_query_is_one_question_of_the_usual_form() {
        let expected = b"\x01\x02\0\0\0\x01\0\0\0\0\0\0\x0akubernetes\x07default\x03svc\x07cluster\x05local\0\0\x01\0\x01";
        assert_eq!(query(0x0102), expected);
    }

    #[test]
    fn an_answer_counts_whatever_it_says() {
        for code in [0, 2, 3, 5, 15] {
            assert_eq!(answer(&answered(code), 7), Some(code));
        }
        let mut longer = answered(0);
        longer.extend([0xc0, 12, 0, 1]);
        assert_eq!(answer(&longer, 7), Some(0));
    }

    #[test]
    fn an_error_without_the_question_does_not_count() {
        let message = [0, 7, 0x80, 0x01, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(answer(&message, 7), None);
    }

    #[test]
    fn anything_else_does_not_count() {
        type Spoil = fn(&mut Vec<u8>);
        let table: [(&str, Spoil); 9] = [
            ("another id", |message| message[1] = 8),
            ("a query", |message| message[2] = 0x05),
            ("another kind", |message| message[2] = 0xa5),
            ("two questions", |message| message[5] = 2),
            ("no question", |message| message[5] = 0),
            ("another name", |message| message[13] = b'x'),
            ("another type", |message| message[43] = 28),
            ("cut short", |message| message.truncate(20)),
            ("empty", Vec::clear),
        ];
        for (what, spoil) in table {
            let mut message = answered(0);
            spoil(&mut message);
            assert_eq!(answer(&message, 7), None, "{what}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(message in vec(any::<u8>(), 0..80), id in any::<u16>()) {
            if let Some(code) = answer(&message, id) {
                prop_assert!(code < 16 && message.starts_with(&id.to_be_bytes()));
            }
        }
    }
}
