//! HTTP as a stranger speaks it, and a place where alerts arrive.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

pub(crate) fn get(address: &str, path: &str) -> Result<Answer, Box<dyn Error>> {
    ask(address, "GET", path, "", &[])
}

pub(crate) fn post(address: &str, path: &str, body: &str) -> Result<Answer, Box<dyn Error>> {
    ask(
        address,
        "POST",
        path,
        body,
        &["Content-Type: application/json"],
    )
}

/// One exchange over a connection of its own.
pub(crate) fn ask(
    address: &str,
    method: &str,
    path: &str,
    body: &str,
    headers: &[&str],
) -> Result<Answer, Box<dyn Error>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{more}\r\n{body}",
        body.len()
    )?;
    let mut reader = BufReader::new(stream);
    let (status, length) = head(&mut reader)?;
    let mut body = Vec::new();
    match length {
        Some(length) => reader.take(length).read_to_end(&mut body)?,
        None => reader.read_to_end(&mut body)?,
    };
    Ok(Answer { status, body })
}

/// The number of the first line, if it has one, and the length of the body.
fn head(reader: &mut impl BufRead) -> Result<(u16, Option<u64>), Box<dyn Error>> {
    let (mut status, mut length, mut is_first) = (0, None, true);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err("the head does not end".into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok((status, length));
        }
        if is_first {
            let number = line
                .split(' ')
                .nth(1)
                .and_then(|number| number.parse().ok());
            status = number.unwrap_or_default();
            is_first = false;
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse()?);
        }
    }
}

/// A text as a part of a query.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Takes alerts.
pub(crate) struct Hook {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Hook {
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let hook = Self {
            address: listener.local_addr()?,
            bodies: Arc::default(),
        };
        let bodies = Arc::clone(&hook.bodies);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // One that is no alert is no alert.
                let _other = stream
                    .map_err(Into::into)
                    .and_then(|stream| take(stream, &bodies));
            }
        });
        Ok(hook)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    /// The verdicts before and now of each alert.
    pub(crate) fn told(&self) -> Vec<(String, String)> {
        let bodies = self.bodies.lock().unwrap();
        let word = |body: &Value, key: &str| body[key].as_str().unwrap_or_default().to_owned();
        bodies
            .iter()
            .map(|body| (word(body, "before"), word(body, "verdict")))
            .collect()
    }
}

fn take(stream: TcpStream, bodies: &Mutex<Vec<Value>>) -> Result<(), Box<dyn Error>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let (_, length) = head(&mut reader)?;
    let mut body = vec![0; usize::try_from(length.unwrap_or_default())?];
    reader.read_exact(&mut body)?;
    bodies.lock().unwrap().push(serde_json::from_slice(&body)?);
    reader
        .get_mut()
        .write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
    Ok(())
}
