//! The client side of the Autobahn test suite: `autobahn lanes|run ws://HOST:PORT AGENT` asks a running fuzzing server how many
//! cases there are, echoes its way through each, and has the report written. The suite judges; this only talks.

use std::net::SocketAddr;
use std::process::ExitCode;

use sockrates_core::failure::FailureKind;
use sockrates_loadgen::dial::Dialer;
use sockrates_loadgen::transport::websocket::agent::{self, Client};

#[expect(
    clippy::print_stderr,
    reason = "a program for scripts: its complaint is all it prints"
)]
fn main() -> ExitCode {
    match talk() {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            eprintln!("autobahn: {complaint}");
            ExitCode::FAILURE
        }
    }
}

fn talk() -> Result<(), String> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [client, url, agent] = &arguments[..] else {
        return Err("usage: autobahn lanes|run ws://HOST:PORT AGENT".to_owned());
    };
    let client = match &**client {
        "lanes" => Client::Lanes,
        "run" => Client::Run,
        other => return Err(format!("`{other}` is no client: lanes or run")),
    };
    let host = url.strip_prefix("ws://").unwrap_or(url);
    let address: SocketAddr = host
        .parse()
        .map_err(|_| format!("`{url}` is no ws://ADDRESS:PORT"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let ask = |target: String| conversation(client, address, target);
        let count = ask("/getCaseCount".to_owned()).await?;
        let count: u32 = String::from_utf8_lossy(&count)
            .parse()
            .map_err(|_| format!("{host} does not say how many cases there are"))?;
        for case in 1..=count {
            ask(format!("/runCase?case={case}&agent={agent}")).await?;
        }
        ask(format!("/updateReports?agent={agent}")).await.map(drop)
    })
}

/// Talks on one connection to its end, and returns the last message. Only a server that cannot be reached is an error: how it
/// ends is part of most cases.
async fn conversation(
    client: Client,
    address: SocketAddr,
    target: String,
) -> Result<Vec<u8>, String> {
    let host = address.to_string();
    let stream = Dialer::new(address, &[]).dial(0).await;
    let stream = stream.map_err(|kind| format!("{host}: {kind}"))?;
    let (last, ended) = agent::echo(client, stream, &host, &target).await;
    match ended {
        FailureKind::HandshakeRefused => Err(format!("{host}{target}: {ended}")),
        _ => Ok(last),
    }
}
