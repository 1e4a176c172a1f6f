//! What is said on one accepted connection: `Peer.Identify` over HTTP/2, and the same over HTTP/1.1.

use std::{convert::Infallible, net::SocketAddr};

use http::{Method, Request, Response, StatusCode, Version, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use reachproof_proto::{
    net::{Nonce, ProofKey, address_to_wire, bytes_from_wire, proof},
    v1::{
        IdentifyRequest, IdentifyResponse,
        peer_server::{Peer, PeerServer},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tonic::{Status, body::Body};
use tower::Service;
use tracing::debug;

use crate::limits::{CONNECTION_LIFE_MAX, HTTP_HEAD_MAX, PEER_MESSAGE_MAX, PEER_STREAMS_MAX};

/// Path of the HTTP/1.1 form, as in ARCHITECTURE, "Peers".
const PROBE_PATH: &str = "/v1/probe";

/// Serves one connection until the other side closes it, or for at most [`CONNECTION_LIFE_MAX`].
///
/// The first bytes tell HTTP/1.1 from HTTP/2: the API server's `pods/proxy` speaks only the former.
pub(super) async fn serve<S>(stream: S, key: ProofKey, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let witness = Witness { key, peer };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_LIFE_MAX)
        .max_buf_size(HTTP_HEAD_MAX);
    builder.http2().max_concurrent_streams(PEER_STREAMS_MAX);
    let service = service_fn(move |request| witness.answer(request));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIFE_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%peer, %error, "connection ended"),
        Err(_) => debug!(%peer, "connection closed: it was open too long"),
    }
}

/// Who saw a connection, and from where.
#[derive(Clone, Copy)]
struct Witness {
    key: ProofKey,
    peer: SocketAddr,
}

impl Witness {
    /// Answers one request of either protocol.
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        if request.version() == Version::HTTP_2 {
            return PeerServer::new(self)
                .max_decoding_message_size(PEER_MESSAGE_MAX)
                .call(request)
                .await;
        }
        Ok(self.answer_plain(request.method(), request.uri()))
    }

    /// Answers an HTTP/1.1 request; anything but the probe is *not found*.
    fn answer_plain(self, method: &Method, uri: &http::Uri) -> Response<Body> {
        if method != Method::GET || uri.path() != PROBE_PATH {
            return plain(
                StatusCode::NOT_FOUND,
                "text/plain",
                "only GET /v1/probe is served\n".to_owned(),
            );
        }
        let Some(nonce) = uri.query().and_then(nonce_of_query) else {
            let text = "the query needs nonce=, 32 hexadecimal digits\n".to_owned();
            return plain(StatusCode::BAD_REQUEST, "text/plain", text);
        };
        let body = format!(
            "{{\"observed_address\":\"{}\",\"observed_port\":{},\"proof\":\"{}\"}}\n",
            self.peer.ip(),
            self.peer.port(),
            hex(&proof(&self.key, &nonce, self.peer.ip(), self.peer.port())),
        );
        plain(StatusCode::OK, "application/json", body)
    }
}

#[tonic::async_trait]
impl Peer for Witness {
    async fn identify(
        &self,
        request: tonic::Request<IdentifyRequest>,
    ) -> Result<tonic::Response<IdentifyResponse>, Status> {
        let nonce = bytes_from_wire::<{ size_of::<Nonce>() }>(&request.into_inner().nonce)
            .map_err(|error| Status::invalid_argument(format!("nonce: {error}")))?;
        let (address, port) = (self.peer.ip(), self.peer.port());
        Ok(tonic::Response::new(IdentifyResponse {
            observed_address: address_to_wire(address),
            observed_port: port.into(),
            proof: proof(&self.key, &nonce, address, port).to_vec(),
        }))
    }
}

/// A response that ends its connection.
fn plain(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    headers.insert(
        header::CONNECTION,
        header::HeaderValue::from_static("close"),
    );
    response
}

/// The nonce in a query string.
fn nonce_of_query(query: &str) -> Option<Nonce> {
    let text = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("nonce="))?;
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect::<Option<_>>()?;
    bytes_from_wire(&bytes).ok()
}

/// Bytes as lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::Instant,
    };

    use super::*;

    /// Serves one end of a pipe, writes `request` to the other, and returns what came back and when it closed.
    async fn exchange(request: &[u8]) -> (String, std::time::Duration) {
        let (mut ours, theirs) = duplex(4096);
        let begin = Instant::now();
        let serving = tokio::spawn(serve(theirs, [7; 32], "10.0.1.10:40000".parse().unwrap()));
        ours.write_all(request).await.unwrap();
        let mut answer = String::new();
        ours.read_to_string(&mut answer).await.unwrap();
        let closed_after = begin.elapsed();
        serving.await.unwrap();
        (answer, closed_after)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_closed() {
        let (answer, closed_after) = exchange(b"").await;
        assert_eq!((answer.as_str(), closed_after), ("", CONNECTION_LIFE_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_is_closed() {
        for part in [&b"GET /v1/probe"[..], b"PRI * HTTP/2.0\r\n"] {
            let (answer, closed_after) = exchange(part).await;
            assert_eq!((answer.as_str(), closed_after), ("", CONNECTION_LIFE_MAX));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn http_1_1_gets_the_same_proof() {
        let request =
            b"GET /v1/probe?nonce=01010101010101010101010101010101 HTTP/1.1\r\nhost: x\r\n\r\n";
        let (answer, _) = exchange(request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let expected = hex(&proof(
            &[7; 32],
            &[1; 16],
            "10.0.1.10".parse().unwrap(),
            40_000,
        ));
        assert_eq!(
            body,
            serde_json::json!({ "observed_address": "10.0.1.10", "observed_port": 40_000, "proof": expected })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn other_requests_of_http_1_1_are_refused() {
        for (request, status) in [
            ("GET /v1/probe HTTP/1.1", "400"),
            ("GET /v1/probe?nonce=01 HTTP/1.1", "400"),
            ("GET / HTTP/1.1", "404"),
            (
                "POST /v1/probe?nonce=01010101010101010101010101010101 HTTP/1.1",
                "404",
            ),
        ] {
            let (answer, _) = exchange(format!("{request}\r\nhost: x\r\n\r\n").as_bytes()).await;
            assert_eq!(answer.split(' ').nth(1), Some(status), "{request}");
        }
    }

    #[test]
    fn a_nonce_is_32_hexadecimal_digits_in_a_query() {
        let nonce = *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\xff";
        assert_eq!(
            nonce_of_query("nonce=000102030405060708090a0b0c0d0eff"),
            Some(nonce)
        );
        assert_eq!(
            nonce_of_query("a=b&nonce=000102030405060708090A0B0C0D0EFF"),
            Some(nonce)
        );
        assert_eq!(hex(&nonce), "000102030405060708090a0b0c0d0eff");
    }

    #[test]
    fn anything_else_is_no_nonce() {
        let short = "nonce=0001";
        let long = "nonce=000102030405060708090a0b0c0d0eff00";
        let odd = "nonce=000102030405060708090a0b0c0d0ef";
        let other = "nonce=000102030405060708090a0b0c0d0exx";
        for query in [
            "",
            "nonce",
            "nonce=",
            short,
            long,
            odd,
            other,
            "mynonce=000102030405060708090a0b0c0d0eff",
        ] {
            assert_eq!(nonce_of_query(query), None, "{query}");
        }
    }
}
