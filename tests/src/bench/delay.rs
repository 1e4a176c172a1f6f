//! A path with a known delay: a TUN device behind which every SYN is answered after a fixed time.
//!
//! `tc netem` is not in every kernel; this needs nothing but `/dev/net/tun`. What is known is the true delay of each answer:
//! from the moment at which the SYN was read to the moment at which the SYN-ACK was about to be written.
#![expect(
    unsafe_code,
    reason = "making a TUN device is one ioctl that no crate here wraps"
)]

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    mem,
    net::{Ipv4Addr, SocketAddrV4},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::OpenOptionsExt as _,
    },
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    poll::{PollFd, PollFlags, ppoll},
    sys::{prctl::set_timerslack, time::TimeSpec},
};

use super::{Measured, farm::run};

/// Name of the device.
const DEVICE: &str = "delay0";

/// Network of the targets that answer.
pub const TARGETS: [u8; 2] = [10, 64];

/// Length of an answer: two headers without options.
const ANSWER: usize = 40;

/// How long each answer took, by its target.
pub type Delays = BTreeMap<SocketAddrV4, Duration>;

/// A device that answers as long as the program runs.
#[derive(Debug)]
pub struct Path {
    delays: Arc<Mutex<Delays>>,
}

impl Path {
    /// Makes the device and its routes in this network namespace, and a thread that answers `delay` after each SYN.
    ///
    /// # Errors
    /// When there is no `/dev/net/tun`, or no right to make a device.
    pub fn open(delay: Duration) -> Measured<Path> {
        let device = device().map_err(|error| format!("cannot make a TUN device: {error}"))?;
        let network = format!(
            "link set lo up
link set {DEVICE} up
address add 10.63.0.1/30 dev {DEVICE}
route add {}.{}.0.0/16 dev {DEVICE}
",
            TARGETS[0], TARGETS[1]
        );
        run("ip", &["-batch", "-"], &network)?;
        let path = Path {
            delays: Arc::default(),
        };
        let delays = Arc::clone(&path.delays);
        thread::Builder::new()
            .name("delay".to_owned())
            .spawn(move || {
                // Timers of this thread are as exact as they can be; where that is refused the error is seen in the figures.
                let _ = set_timerslack(1);
                answer_all(device, delay, &delays)
            })?;
        Ok(path)
    }

    /// The delays since the last time.
    #[must_use]
    pub fn take(&self) -> Delays {
        mem::take(&mut *self.delays.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A TUN device that gives and takes bare IP packets.
fn device() -> io::Result<File> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    // SAFETY: ifreq is plain numbers, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (place, letter) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *place = libc::c_char::from_ne_bytes([letter]);
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, and the kernel reads and writes one ifreq, which `request` is.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result == 0 {
        Ok(device)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// An answer that waits.
struct Waiting {
    read_at: Instant,
    target: SocketAddrV4,
    packet: Vec<u8>,
}

/// Time before an answer is due from which on it is waited for without a timer, which would be late.
const SPIN: Duration = Duration::from_micros(80);

/// Answers until the device fails.
fn answer_all(mut device: File, delay: Duration, delays: &Mutex<Delays>) -> io::Result<()> {
    let mut waiting: VecDeque<Waiting> = VecDeque::new();
    let mut packet = [0; 2048];
    loop {
        match device.read(&mut packet) {
            Ok(length) => {
                let read_at = Instant::now();
                if let Some((target, packet)) = packet.get(..length).and_then(answer) {
                    waiting.push_back(Waiting {
                        read_at,
                        target,
                        packet,
                    });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let due = waiting.front().map(|next| next.read_at + delay);
                wait(&device, due)?;
            }
            Err(error) => return Err(error),
        }
        while let Some(next) = waiting.pop_front_if(|next| next.read_at.elapsed() >= delay) {
            let took = next.read_at.elapsed();
            delays
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(next.target, took);
            device.write_all(&next.packet)?;
        }
    }
}

/// Waits for a packet, at most until shortly before an answer is `due`.
fn wait(device: &File, due: Option<Instant>) -> io::Result<()> {
    let left = due.map(|due| due.saturating_duration_since(Instant::now() + SPIN));
    if left.is_some_and(|left| left.is_zero()) {
        return Ok(());
    }
    let descriptor = PollFd::new(device.as_fd(), PollFlags::POLLIN);
    ppoll(&mut [descriptor], left.map(TimeSpec::from), None)?;
    Ok(())
}

/// The SYN-ACK for a SYN over IPv4, and whose it is; none for any other packet.
fn answer(packet: &[u8]) -> Option<(SocketAddrV4, Vec<u8>)> {
    let header = 4 * usize::from(packet.first()? & 0x0f);
    let (ip, tcp) = packet.split_at_checked(header)?;
    let is_syn = tcp.get(13)? & 0x12 == 0x02;
    if packet.first()? >> 4 != 4 || *ip.get(9)? != 6 || !is_syn {
        return None;
    }
    let (source, target): ([u8; 4], [u8; 4]) = (part(ip, 12)?, part(ip, 16)?);
    let (source_port, target_port): ([u8; 2], [u8; 2]) = (part(tcp, 0)?, part(tcp, 2)?);
    let sequence = u32::from_be_bytes(part(tcp, 4)?);
    let addresses = [target, source].concat();
    let mut answer = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    answer.extend_from_slice(&addresses);
    let sum = checksum(&answer);
    put(&mut answer, 10, sum);
    let mut segment = [target_port, source_port].concat();
    segment.extend_from_slice(&[0, 0, 0x10, 0]);
    segment.extend_from_slice(&sequence.wrapping_add(1).to_be_bytes());
    // Five words of header, SYN and ACK, the widest window.
    segment.extend_from_slice(&[0x50, 0x12, 0xff, 0xff, 0, 0, 0, 0]);
    let pseudo = [addresses.as_slice(), &[0, 6, 0, 20], &segment].concat();
    put(&mut segment, 16, checksum(&pseudo));
    answer.extend_from_slice(&segment);
    let target = SocketAddrV4::new(Ipv4Addr::from(target), u16::from_be_bytes(target_port));
    (answer.len() == ANSWER).then_some((target, answer))
}

/// Some bytes of a packet.
fn part<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..at + N)?.try_into().ok()
}

/// Puts a number into a packet.
fn put(packet: &mut [u8], at: usize, number: u16) {
    for (place, byte) in packet.iter_mut().skip(at).zip(number.to_be_bytes()) {
        *place = byte;
    }
}

/// The Internet checksum of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).filter_map(|word| part(word, 0));
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(word))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// A SYN from 10.63.0.1:40000 to 10.64.0.7:80, without options, and with 7 as its number.
    const SYN: [u8; 40] = [
        0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 63, 0, 1, 10, 64, 0, 7, // IP
        0x9c, 0x40, 0, 80, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0, // TCP
    ];

    #[test]
    fn a_syn_is_answered_with_its_number_and_right_checksums() {
        let (target, answer) = answer(&SYN).unwrap();
        assert_eq!(target, "10.64.0.7:80".parse().unwrap());
        assert_eq!(part(&answer, 12), Some([10, 64, 0, 7, 10, 63, 0, 1]));
        assert_eq!(part(&answer, 20), Some([0, 80, 0x9c, 0x40]));
        assert_eq!(part(&answer, 28), Some([0, 0, 0, 8, 0x50, 0x12]));
        // A sum over what includes its checksum is nothing.
        assert_eq!(checksum(&answer[..20]), 0);
        let pseudo = [&answer[12..20], &[0, 6, 0, 20], &answer[20..]].concat();
        assert_eq!(checksum(&pseudo), 0);
    }

    #[test]
    fn what_is_no_syn_is_not_answered() {
        let mut reset = SYN;
        reset[33] = 0x04;
        let mut both = SYN;
        both[33] = 0x12;
        let mut other = SYN;
        other[9] = 17;
        for packet in [&reset[..], &both, &other, &SYN[..30], &[], &[0x60; 40]] {
            assert_eq!(answer(packet), None);
        }
    }
}
