//! What the tests of the reader share: worlds, a server that replays them, and a connection to it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "test code, of which each test binary uses a part"
)]

pub mod replay;
pub mod world;
pub mod xml;

use std::net::SocketAddr;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use reachproof_aws::{Connection, Pace, ReadError, Reading, Settings};

pub use replay::{Asked, Fault, Replay};
pub use world::World;

/// The cluster of every world.
pub const CLUSTER: &str = "demo";

/// A pace that makes faults cheap: attempts in milliseconds, a tenth of a second for a server that hangs.
pub fn quick() -> Pace {
    Pace {
        attempts: 4,
        first_backoff: Duration::from_millis(2),
        longest_backoff: Duration::from_millis(20),
        connect_timeout: Duration::from_millis(500),
        attempt_timeout: Duration::from_millis(700),
        request_timeout: Duration::from_secs(4),
        reading_time_max: Duration::from_secs(6),
    }
}

/// Settings that lead to `address`, with keys that stand for valid ones.
pub fn settings(address: SocketAddr) -> Settings {
    Settings {
        region: Some("us-east-1".to_owned()),
        profile: None,
        endpoint: Some(format!("http://{address}")),
        credentials: Some(SharedCredentialsProvider::new(Credentials::new(
            "AKID", "secret", None, None, "test",
        ))),
        pace: quick(),
    }
}

/// Reads the world that `replay` serves.
pub async fn read(replay: &Replay) -> Result<Reading, ReadError> {
    let connection = Connection::open(&settings(replay.address())).await.unwrap();
    reachproof_aws::read(&connection, CLUSTER, &|_| {}).await
}

/// Serves `world` with `fault` at every request and reads it.
pub async fn read_with(
    world: World,
    fault: impl Fn(&Asked) -> Fault + Send + Sync + 'static,
) -> Result<Reading, ReadError> {
    let replay = Replay::start(world, fault).await;
    read(&replay).await
}
