//! From a URL to a server that may be measured: parsed, looked up, and this machine's unless allowed by name.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

use sockrates_core::failure::FailureKind;
use sockrates_core::plan::{Target, TrialSpec};
use sockrates_loadgen::preflight::{self, Rejection};
use sockrates_probe::clock;
use url::{Host, Url};

use crate::exit::{Exit, Failure};

/// How long looking up a name may take.
const LOOK_UP: Duration = Duration::from_secs(5);

/// A server, and a place on it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The transport that the scheme stands for.
    pub(crate) transport: &'static str,
    /// What the server is called in requests.
    pub(crate) host: String,
    /// Path and query.
    pub(crate) path: String,
    /// Where it may be found; never empty.
    pub(crate) addresses: Vec<SocketAddr>,
    /// How long it took to look up the name; `None` for an address.
    pub(crate) resolve_ns: Option<u64>,
}

impl Place {
    /// Returns the server at one of its addresses, as trials know it.
    pub(crate) fn target(&self, http: SocketAddr) -> Target {
        Target::Running {
            http,
            tcp: None,
            host: Some(self.host.clone()),
        }
    }
}

/// Tries a server's addresses, with one exchange for each lane ahead of the load. Returns it at the address that works.
pub(crate) fn reach(
    place: &Place,
    trials: impl Fn(&Target) -> Vec<TrialSpec>,
) -> Result<Target, Failure> {
    let mut rejection = None;
    for address in &place.addresses {
        let target = place.target(*address);
        let mut trials = trials(&target);
        trials.sort_by_key(|spec| spec.cell.lane.clone());
        trials.dedup_by_key(|spec| spec.cell.lane.clone());
        let checked = trials
            .iter()
            .try_for_each(|spec| preflight::check(spec, *address, &[]));
        match checked {
            Ok(()) => return Ok(target),
            Err(Rejection::Connect { .. }) if rejection.is_some() => {}
            Err(other) => {
                let is_there = !matches!(other, Rejection::Connect { .. });
                rejection = Some(other);
                if is_there {
                    break;
                }
            }
        }
    }
    let rejection = rejection.expect("a place has an address");
    let (exit, remedy) = match &rejection {
        Rejection::Connect { failure, .. } => match failure {
            FailureKind::ConnectNoDescriptor => (
                Exit::Environment,
                "; raise the limit of open files (`ulimit -n`)",
            ),
            FailureKind::ConnectAddressNotAvailable => (
                Exit::Environment,
                "; wait a minute until ports are free again, use fewer connections, or widen net.ipv4.ip_local_port_range",
            ),
            FailureKind::ConnectTimedOut => (
                Exit::Target,
                "; is its queue of connections full, or does it hang?",
            ),
            _ => (Exit::Target, ""),
        },
        _ => (Exit::Target, ""),
    };
    Err(Failure::new(exit, format!("{rejection}{remedy}")))
}

/// Finds the place that a URL names.
pub(crate) fn find(url: &str, allowed: &[String]) -> Result<Place, Failure> {
    let shown = url.escape_debug();
    let usage = |problem: &str| Failure::new(Exit::Usage, format!("`{shown}`: {problem}"));
    let has_scheme = url.contains("://");
    let parsed = Url::parse(url).ok().filter(|_| has_scheme);
    let Some(parsed) = parsed else {
        return Err(usage(
            "is no URL: write http://HOST:PORT/PATH or ws://HOST:PORT/PATH",
        ));
    };
    let transport = match parsed.scheme() {
        "http" => "http1",
        "ws" => "websocket",
        "https" | "wss" => {
            return Err(usage(
                "TLS is not spoken; measure the server without it, over http:// or ws://",
            ));
        }
        _ => return Err(usage("has an unknown scheme; known: http, ws")),
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(usage(
            "carries credentials: send them with -H 'Authorization: …'",
        ));
    }
    let Some(name) = parsed.host() else {
        return Err(usage("names no host"));
    };
    let port = parsed.port_or_known_default().unwrap_or(80);
    if port == 0 {
        return Err(usage("has port 0, on which nobody can listen"));
    }
    let (addresses, resolve_ns) = match &name {
        Host::Ipv4(address) => (vec![SocketAddr::from((*address, port))], None),
        Host::Ipv6(address) => (vec![SocketAddr::from((*address, port))], None),
        Host::Domain(domain) => look_up(domain, port)?,
    };
    let host_name = parsed.host_str().unwrap_or_default();
    guard(host_name, &addresses, allowed)?;
    let query = parsed
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    Ok(Place {
        transport,
        host: parsed.port().map_or_else(
            || host_name.to_owned(),
            |port| format!("{host_name}:{port}"),
        ),
        path: format!("{}{query}", parsed.path()),
        addresses,
        resolve_ns,
    })
}

fn look_up(name: &str, port: u16) -> Result<(Vec<SocketAddr>, Option<u64>), Failure> {
    let failure = |problem: String| {
        Failure::new(
            Exit::Target,
            format!(
                "cannot look up `{name}`: {problem}; is it spelled right, or known to /etc/hosts?"
            ),
        )
    };
    let (send, receive) = mpsc::channel();
    let owned = name.to_owned();
    // The lookup itself knows no time-out: a thread that comes too late is left behind.
    std::thread::spawn(move || {
        let start_ns = clock::monotonic_ns();
        let found = (owned.as_str(), port).to_socket_addrs();
        let addresses = found.map(Iterator::collect::<Vec<_>>);
        let _ = send.send((addresses, clock::monotonic_ns() - start_ns));
    });
    let (found, took_ns) = receive
        .recv_timeout(LOOK_UP)
        .map_err(|_| failure(format!("no answer within {} s", LOOK_UP.as_secs())))?;
    let mut addresses = found.map_err(|error| failure(error.to_string()))?;
    addresses.dedup();
    if addresses.is_empty() {
        return Err(failure("it has no address".to_owned()));
    }
    Ok((addresses, Some(took_ns)))
}

/// A load generator is a weapon: only this machine is a target, unless another one is named.
pub(crate) fn guard(
    host: &str,
    addresses: &[SocketAddr],
    allowed: &[String],
) -> Result<(), Failure> {
    let is_here = addresses.iter().all(|address| address.ip().is_loopback());
    let is_allowed = allowed.iter().any(|name| name.eq_ignore_ascii_case(host));
    if is_here || is_allowed {
        return Ok(());
    }
    let message = format!(
        "`{host}` is not this machine ({}): loads go elsewhere only when the server is yours and you say so, with --allow-target {host}",
        addresses[0].ip()
    );
    Err(Failure::new(Exit::Environment, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> (Exit, String) {
        let failure = find(url, &[]).unwrap_err();
        (failure.exit, failure.error.to_string())
    }

    #[test]
    fn a_url_says_where_and_what() {
        let place = find("http://127.0.0.1:8080/a/b?c=d#e", &[]).unwrap();
        assert_eq!((place.transport, &*place.host), ("http1", "127.0.0.1:8080"));
        assert_eq!(place.path, "/a/b?c=d");
        assert_eq!(place.addresses, ["127.0.0.1:8080".parse().unwrap()]);
        assert_eq!(place.resolve_ns, None);
        let plain = find("ws://[::1]", &[]).unwrap();
        assert_eq!(
            (plain.transport, &*plain.host, &*plain.path),
            ("websocket", "[::1]", "/")
        );
        assert_eq!(plain.addresses[0].port(), 80);
        let named = find("http://localhost:1", &[]).unwrap();
        assert!(named.resolve_ns.is_some() && named.host == "localhost:1");
    }

    #[test]
    fn what_is_no_place_is_refused_with_a_remedy() {
        for url in ["localhost:8080", "127.0.0.1", "", "/path", "http://"] {
            let (exit, message) = refused(url);
            assert_eq!(exit, Exit::Usage, "{url}");
            assert!(message.contains("http://HOST"), "{message}");
        }
        assert!(refused("ftp://localhost").1.contains("known: http, ws"));
        assert!(refused("https://localhost").1.contains("TLS"));
        assert!(refused("http://a:b@localhost").1.contains("Authorization"));
        assert!(refused("http://127.0.0.1:0/").1.contains("port 0"));
        let (exit, message) = refused("http://192.0.2.1/");
        assert_eq!(exit, Exit::Environment);
        assert!(message.contains("--allow-target 192.0.2.1"), "{message}");
        assert!(find("http://192.0.2.1/", &["192.0.2.1".to_owned()]).is_ok());
    }
}
