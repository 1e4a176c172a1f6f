//! Whether the control plane's interfaces (X-ENIs) answer this machine.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reachproof_aws::doctor::Examination;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::agents::own_address;
use super::{Line, State};

/// What the line is called.
pub(super) const WAY: &str = "way to the control plane";

/// Port on which the API server answers behind each X-ENI [D.1].
const PORT: u16 = 443;

/// How long a handshake is waited for: three tries of the kernel's first SYN, at 0, 1 and 3 s, fit in.
const WAIT: Duration = Duration::from_millis(3_500);

/// Connects to every interface of the control plane, all at once; `None` when none is known.
///
/// Silence means something only from inside the VPC: from elsewhere there may be no way at all, and a run needs none, as
/// agents try theirs.
pub(super) async fn line(examination: &Examination, cluster: &str) -> Option<Line> {
    let addresses = examination.control_plane.iter();
    let addresses: Vec<IpAddr> = addresses.filter_map(|text| text.parse().ok()).collect();
    let first = *addresses.first()?;
    let silent = silent(&addresses).await;
    let own = own_address(first);
    let inside = own.filter(|own| examination.addresses.contains(&own.to_string()));
    Some(said(&addresses, &silent, inside, cluster))
}

/// Those that do not answer, sorted.
async fn silent(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut tries = JoinSet::new();
    for address in addresses.iter().copied() {
        tries.spawn(async move {
            let connect = TcpStream::connect(SocketAddr::new(address, PORT));
            let answers = matches!(timeout(WAIT, connect).await, Ok(Ok(_)));
            (!answers).then_some(address)
        });
    }
    let mut silent = Vec::new();
    while let Some(tried) = tries.join_next().await {
        silent.extend(tried.ok().flatten());
    }
    silent.sort();
    silent
}

/// What silence means; `inside` is the address of this machine in the VPC.
fn said(addresses: &[IpAddr], silent: &[IpAddr], inside: Option<IpAddr>, cluster: &str) -> Line {
    let Some(first) = silent.first() else {
        let names: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        let detail = format!("tcp/{PORT} answers: {}", names.join(", "));
        return Line::new(State::Ok, WAY, detail, "");
    };
    let names: Vec<String> = silent.iter().map(IpAddr::to_string).collect();
    let detail = format!("tcp/{PORT} does not answer: {}", names.join(", "));
    match inside {
        Some(own) => Line::new(
            State::Missing,
            WAY,
            detail,
            format!(
                "open that way; `reachproof explain {own} {first} {PORT} --cluster {cluster}` says how"
            ),
        ),
        None => Line::new(
            State::Unknown,
            WAY,
            format!("{detail}; this machine is not in the VPC"),
            "agents try that way themselves",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_inside_the_vpc_alone() {
        let here: Vec<IpAddr> = ["10.0.1.10", "10.0.2.10"]
            .into_iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        let (all, second) = (here.as_slice(), here.get(1..).unwrap_or_default());
        assert_eq!(said(all, &[], None, "demo").state, State::Ok);
        let outside = said(all, second, None, "demo");
        assert_eq!(outside.state, State::Unknown);
        let inside = said(all, second, "10.0.1.20".parse().ok(), "demo");
        assert_eq!(inside.state, State::Missing);
        assert_eq!(inside.detail, "tcp/443 does not answer: 10.0.2.10");
        assert_eq!(
            inside.remedy,
            "open that way; `reachproof explain 10.0.1.20 10.0.2.10 443 --cluster demo` says how"
        );
    }
}
