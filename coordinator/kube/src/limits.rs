//! How long is waited, how often is asked, and how much is taken.

use std::time::Duration;

/// Bytes of one answer. A page of 500 pods is 2 to 5 MB; a pod near etcd's limit of 1.5 MiB is rare enough that a page
/// beyond this is somebody playing tricks with memory.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Pages of one list: 5,000,000 objects of the default page size, 30 times what Kubernetes promises to carry.
pub(crate) const PAGES_MAX: usize = 10_000;

/// Definitions of kinds in one page: each holds the schemas of its versions, often hundreds of kilobytes of JSON and at most
/// 1.5 MiB in etcd, of which nothing is kept.
pub(crate) const DEFINITIONS_PER_PAGE: u32 = 25;

/// How long one watch is asked for. The server ends it then and it is taken up again, so that a connection that died
/// silently is noticed within this time and [`Limits::request_timeout`].
pub(crate) const WATCH_TIME: Duration = Duration::from_secs(60);

/// Bytes of one event: an object is at most 1.5 MiB in etcd, some more in JSON.
pub(crate) const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// First pause before an answer that failed is asked for again; it doubles up to [`PAUSE_MAX`]. Without jitter: one
/// reader asks one question at a time.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(200);

/// Longest pause that we choose ourselves; a server's `Retry-After` may ask for more.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Patience with an API server. The defaults suit a reading of one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// TCP and TLS handshake.
    pub connect_timeout: Duration,
    /// One question and its whole answer: a page takes well under a second where the way is good.
    pub request_timeout: Duration,
    /// How long the first contact is tried, and how long one attempt of it may take: short, as a wrong address should
    /// be told at once.
    pub first_contact: Duration,
    /// How long a server that answered before may be away (restart, failover), from the first failure on, before the
    /// reading is given up.
    /// a flapping server is survived for 30 s.
    pub outage: Duration,
    /// How long one question may be held up by `429 Too Many Requests`, its `Retry-After` included.
    pub throttled: Duration,
    /// Objects of a page (`limit`). 500 is what kubectl asks for.
    pub page_size: u32,
    /// How often a list is started again when its continue token has expired (410). etcd forgets after 5 minutes, so
    /// a list that expires three times does not fit into the time at all.
    pub restarts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            first_contact: Duration::from_secs(5),
            outage: Duration::from_secs(30),
            throttled: Duration::from_secs(120),
            page_size: 500,
            restarts: 3,
        }
    }
}
