//! The least that any prober does: an epoll loop of non-blocking `connect()` calls with a fixed deadline.
//!
//! Six system calls an open target: socket, setsockopt (`SO_LINGER` 0), connect, `epoll_ctl`, getsockopt (`SO_ERROR`) and
//! close. Written apart from the agent's engine; the one thing they share is how `TCP_INFO` is read.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use reachproof_agent::sys::tcp_status;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Measured;

/// What a target said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The handshake completed.
    Open,
    /// A reset came.
    Refused,
    /// Nothing came.
    Silent,
    /// Anything else.
    Error,
}

impl Class {
    /// The word that the other tools print.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Class::Open => "open",
            Class::Refused => "refused",
            Class::Silent => "timeout",
            Class::Error => "error",
        }
    }
}

/// A target that waits for its answer.
struct Waiting {
    socket: Socket,
    /// Attempts that may follow.
    left: u32,
}

/// Attempts started before answers are looked at.
const BURST: usize = 64;

/// How long the answer to the last paced start is waited for.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Events taken at once.
const EVENTS: usize = 256;

/// Connects to each target up to `attempts` times, at most `in_flight_max` at once.
///
/// # Errors
/// What epoll says.
pub fn connect_all(
    targets: &[SocketAddr],
    attempts: u32,
    deadline: Duration,
    in_flight_max: usize,
) -> Measured<Vec<Class>> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let addresses: Vec<SockAddr> = targets.iter().map(|target| (*target).into()).collect();
    let mut classes = vec![Class::Silent; targets.len()];
    let mut waiting: Vec<Option<Waiting>> = targets.iter().map(|_| None).collect();
    // All wait equally long, so that the first to start is the first to end.
    let mut deadlines: VecDeque<(Instant, usize, u32)> = VecDeque::new();
    let mut due: VecDeque<(usize, u32)> = (0..targets.len()).map(|at| (at, attempts)).collect();
    let mut in_flight = 0_usize;
    let mut events = [EpollEvent::empty(); EVENTS];
    while in_flight > 0 || !due.is_empty() {
        for _ in 0..BURST {
            if in_flight >= in_flight_max {
                break;
            }
            let Some((at, left)) = due.pop_front() else {
                break;
            };
            match addresses.get(at).map(|address| start(&epoll, address, at)) {
                Some(Ok(socket)) => {
                    let left = left - 1;
                    deadlines.push_back((Instant::now() + deadline, at, left));
                    put(&mut waiting, at, Some(Waiting { socket, left }));
                    in_flight += 1;
                }
                Some(Err(_)) | None => put(&mut classes, at, Class::Error),
            }
        }
        let may_start = !due.is_empty() && in_flight < in_flight_max;
        let wait = if may_start {
            EpollTimeout::ZERO
        } else {
            until(deadlines.front().map(|(end, ..)| *end))?
        };
        let count = epoll.wait(&mut events, wait)?;
        for event in events.iter().take(count) {
            let at = usize::try_from(event.data())?;
            let Some(answered) = waiting.get_mut(at).and_then(Option::take) else {
                continue;
            };
            put(&mut classes, at, classify(answered.socket.take_error()));
            in_flight -= 1;
        }
        let now = Instant::now();
        while let Some((end, at, left)) = deadlines.front().copied() {
            let current = waiting.get(at).and_then(Option::as_ref);
            let current = current.is_some_and(|waiting| waiting.left == left);
            if current && end > now {
                break;
            }
            deadlines.pop_front();
            if current {
                put(&mut waiting, at, None);
                in_flight -= 1;
                if left > 0 {
                    due.push_back((at, left));
                }
            }
        }
    }
    Ok(classes)
}

/// How long epoll may wait.
fn until(end: Option<Instant>) -> Measured<EpollTimeout> {
    let Some(end) = end else {
        return Ok(EpollTimeout::NONE);
    };
    let wait = end.saturating_duration_since(Instant::now());
    Ok(EpollTimeout::try_from(wait + Duration::from_millis(1))?)
}

/// Connects to each target once at an even pace, and says what `TCP_INFO` said of each that is open.
///
/// # Errors
/// What epoll or a system call of an attempt says.
pub fn round_trips(
    targets: &[SocketAddrV4],
    per_second: u32,
) -> Measured<Vec<(SocketAddrV4, Duration)>> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut waiting: Vec<Option<Socket>> = targets.iter().map(|_| None).collect();
    let mut events = [EpollEvent::empty(); EVENTS];
    let mut times = Vec::new();
    let (mut started, begin) = (0_usize, Instant::now());
    let end = begin + Duration::from_secs(1) / per_second * u32::try_from(targets.len())?;
    while times.len() < targets.len() && Instant::now() < end + LAST_ANSWER {
        let due = begin.elapsed().as_secs_f64() * f64::from(per_second);
        while let Some(target) = targets.get(started)
            && f64::from(u32::try_from(started)?) <= due
        {
            let socket = start(&epoll, &SocketAddr::from(*target).into(), started)?;
            put(&mut waiting, started, Some(socket));
            started += 1;
        }
        let count = epoll.wait(&mut events, EpollTimeout::from(1_u8))?;
        for event in events.iter().take(count) {
            let at = usize::try_from(event.data())?;
            let socket = waiting.get_mut(at).and_then(Option::take);
            if let (Some(socket), Some(target)) = (socket, targets.get(at)) {
                times.extend(tcp_status(&socket)?.round_trip.map(|time| (*target, time)));
            }
        }
    }
    Ok(times)
}

/// Puts a value into its place.
fn put<T>(list: &mut [T], at: usize, value: T) {
    if let Some(place) = list.get_mut(at) {
        *place = value;
    }
}

/// A socket whose SYN is on its way.
fn start(epoll: &Epoll, address: &SockAddr, at: usize) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::IPV4, kind, Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    match socket.connect(address) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let data = u64::try_from(at).map_err(io::Error::other)?;
    let flags = EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
    epoll.add(&socket, EpollEvent::new(flags, data))?;
    Ok(socket)
}

/// What `SO_ERROR` means.
fn classify(error: io::Result<Option<io::Error>>) -> Class {
    match error.map(|error| error.and_then(|error| error.raw_os_error())) {
        // A reset after the handshake is an answer, too.
        Ok(None | Some(nix::libc::ECONNRESET | nix::libc::EPIPE)) => Class::Open,
        Ok(Some(nix::libc::ECONNREFUSED)) => Class::Refused,
        Ok(Some(nix::libc::ETIMEDOUT)) => Class::Silent,
        Ok(Some(_)) | Err(_) => Class::Error,
    }
}
