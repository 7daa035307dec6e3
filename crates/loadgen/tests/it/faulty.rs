//! A server of rooms over HTTP that does one thing wrong with one message of one member.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What is done wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    None,
    /// Nobody gets it.
    Lose,
    /// All get it twice.
    Double,
    /// All get it after the next one of the same member.
    Reorder,
    /// Its last byte is another one.
    Corrupt,
    /// All get it, and whoever said it is told something else.
    Misanswer,
    /// Nobody gets it, and whoever said it is told so.
    Refuse,
    /// Streams end, and polls are not answered, once it was said.
    HangUp,
}

/// With what the message begins that is mistreated, and the one after it.
const VICTIM: &[u8] = b"0 5 ";
const NEXT: &[u8] = b"0 6 ";

struct Room {
    fault: Fault,
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Default)]
struct Said {
    messages: Vec<Vec<u8>>,
    held: Option<Vec<u8>>,
    hangs_up: bool,
}

/// Starts it; its threads end with the test.
pub(crate) fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let room = Arc::new(Room {
        fault,
        said: Mutex::default(),
        changed: Condvar::new(),
    });
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, room) = (client.unwrap(), Arc::clone(&room));
            client.set_nodelay(true).unwrap();
            // Whoever leaves in the middle is no fault of the server's.
            thread::spawn(move || drop(serve(client, &room)));
        }
    });
    address
}

fn serve(mut client: TcpStream, room: &Room) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    loop {
        let (mut target, mut length, mut closes) = (String::new(), 0, false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if target.is_empty() {
                target += line.split(' ').nth(1).unwrap_or_default();
            } else if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            } else if line.starts_with("Connection: close") {
                closes = true;
            } else if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let reply = match target.split('?').next().unwrap_or_default() {
            "/chat/say" => room.say(&body),
            "/chat/stream" => return room.stream(&mut client),
            "/chat/poll" => room.answer(&target, false),
            "/chat/long-poll" => room.answer(&target, true),
            _ => Some("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n".into()),
        };
        let Some(reply) = reply else { return Ok(()) };
        client.write_all(&reply)?;
        if closes {
            return Ok(());
        }
    }
}

impl Room {
    fn say(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut said = self.said.lock().unwrap();
        let is_victim = message.starts_with(VICTIM);
        match self.fault {
            Fault::Lose | Fault::Refuse if is_victim => {}
            Fault::Double if is_victim => said.messages.extend([message.into(), message.into()]),
            Fault::Reorder if is_victim => said.held = Some(message.into()),
            Fault::Corrupt if is_victim => {
                let mut message = message.to_vec();
                *message.last_mut()? ^= 1;
                said.messages.push(message);
            }
            _ => said.messages.push(message.into()),
        }
        if message.starts_with(NEXT) {
            let held = said.held.take();
            said.messages.extend(held);
        }
        said.hangs_up |= self.fault == Fault::HangUp && is_victim;
        drop(said);
        self.changed.notify_all();
        let reply = match self.fault {
            Fault::Misanswer if is_victim => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Fault::Refuse if is_victim => {
                "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
            }
            _ => "HTTP/1.1 204 No Content\r\n\r\n",
        };
        Some(reply.into())
    }

    /// Answers a poll; `None` hangs up.
    fn answer(&self, target: &str, waits: bool) -> Option<Vec<u8>> {
        let since = target
            .split("since=")
            .nth(1)
            .map(|rest| rest.split('&').next().unwrap().parse::<usize>().unwrap());
        let mut said = self.said.lock().unwrap();
        let known = since.unwrap_or(said.messages.len());
        if waits {
            let is_old = |said: &mut Said| said.messages.len() <= known && !said.hangs_up;
            let limit = Duration::from_secs(2);
            let waited = self.changed.wait_timeout_while(said, limit, is_old);
            said = waited.unwrap().0;
        }
        if said.hangs_up {
            return None;
        }
        let mut lines = Vec::new();
        for (number, message) in (known + 1..).zip(&said.messages[known..]) {
            lines.extend([format!("{number} ").as_bytes(), message, b"\n"].concat());
        }
        let (head, length) = (said.messages.len(), lines.len());
        let status = if length == 0 {
            "204 No Content"
        } else {
            "200 OK"
        };
        let mut reply = format!("HTTP/1.1 {status}\r\nx-sockrates-head: {head}\r\n");
        if length > 0 {
            reply += &format!("Content-Length: {length}\r\n");
        }
        Some([reply.as_bytes(), b"\r\n", &lines].concat())
    }

    fn stream(&self, client: &mut TcpStream) -> std::io::Result<()> {
        let mut known = self.said.lock().unwrap().messages.len();
        client.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        loop {
            let said = self.said.lock().unwrap();
            let is_old = |said: &mut Said| said.messages.len() <= known && !said.hangs_up;
            let said = self.changed.wait_while(said, is_old).unwrap();
            if said.hangs_up {
                return Ok(());
            }
            let messages = said.messages[known..].to_vec();
            drop(said);
            for message in messages {
                known += 1;
                let event = [format!("id: {known}\ndata: ").as_bytes(), &message, b"\n\n"].concat();
                let length = format!("{:x}\r\n", event.len());
                client.write_all(&[length.as_bytes(), &event, b"\r\n"].concat())?;
            }
        }
    }
}
