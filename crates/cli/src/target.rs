//! From a URL to a server that may be measured: parsed, looked up, and this machine's unless allowed by name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::str::FromStr;
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
pub(crate) fn find(url: &str, allowed: &[Allowed]) -> Result<Place, Failure> {
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
    let mut addresses: Vec<_> = addresses.into_iter().map(reached).collect();
    addresses.dedup();
    let host_name = parsed.host_str().unwrap_or_default();
    guard(&name.to_owned(), port, &addresses, allowed)?;
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

/// A load generator is a weapon: only this machine is a target, unless another one is named, by its name or by all of its
/// addresses.
fn guard(
    host: &Host,
    port: u16,
    addresses: &[SocketAddr],
    allowed: &[Allowed],
) -> Result<(), Failure> {
    let is_named = |host: &Host| allowed.iter().any(|other| other.is(host, port));
    let may_be_asked =
        |address: &SocketAddr| is_here(address.ip()) || is_named(&host_of(address.ip()));
    if is_named(host) || addresses.iter().all(may_be_asked) {
        return Ok(());
    }
    let elsewhere = addresses.iter().find(|address| !is_here(address.ip()));
    let spelled = one_spelling(host.clone());
    let other_port = allowed.iter().find(|other| other.host == spelled);
    let but = other_port.map_or_else(String::new, |other| {
        let named = other.port.unwrap_or(port);
        format!("; --allow-target names port {named} of it, and this is {port}")
    });
    let message = format!(
        "`{host}` is not this machine ({}): loads go elsewhere only when the server is yours and you say so, with --allow-target {host}{but}",
        elsewhere.unwrap_or(&addresses[0]).ip()
    );
    Err(Failure::new(Exit::Environment, message))
}

/// Checks again where a run that is resumed has measured.
pub(crate) fn guard_running(
    name: &str,
    address: SocketAddr,
    allowed: &[Allowed],
) -> Result<(), Failure> {
    // What is no host any more is still an address.
    let host = name
        .parse()
        .map_or_else(|_| host_of(address.ip()), |named: Allowed| named.host);
    guard(&host, address.port(), &[address], allowed)
}

/// Says whether an address is one of this machine's: a load there reaches nobody else.
pub(crate) fn is_here(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified() || is_own(address)
}

/// Returns where a connection to an address leads: to no address in particular means to this machine, and an IPv4 address in
/// IPv6's clothes is one of IPv4.
fn reached(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    if ip == address.ip() {
        // With its scope, where it has one.
        address
    } else {
        (ip, address.port()).into()
    }
}

/// Asks the kernel which address this machine would use to reach that one: only what is its own is reached by itself. Nothing
/// is sent.
fn is_own(address: IpAddr) -> bool {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let asked = UdpSocket::bind(any).and_then(|socket| {
        // The port is of no importance: discard.
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    asked.is_ok_and(|source| source.ip() == address)
}

fn host_of(address: IpAddr) -> Host {
    match address.to_canonical() {
        IpAddr::V4(address) => Host::Ipv4(address),
        IpAddr::V6(address) => Host::Ipv6(address),
    }
}

/// A host that may be loaded although it is not this machine; with a port, only there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Allowed {
    host: Host,
    port: Option<u16>,
}

impl Allowed {
    fn is(&self, host: &Host, port: u16) -> bool {
        self.host == one_spelling(host.clone()) && self.port.is_none_or(|only| only == port)
    }
}

/// Reads `HOST`, `HOST:PORT` or a URL, an IPv6 address with brackets or without.
impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_bare = text.parse::<Ipv6Addr>().is_ok();
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let authority = if is_bare {
            format!("[{text}]")
        } else {
            rest.to_owned()
        };
        // Either scheme hides its own port.
        let parsed = ["http", "https"].map(|scheme| Url::parse(&format!("{scheme}://{authority}")));
        let [Ok(parsed), Ok(other)] = parsed else {
            return Err("write a host as in a URL, with its port or without: 192.0.2.1, [2001:db8::1]:8080 or server.example".to_owned());
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("carries credentials: leave them out".to_owned());
        }
        let host = parsed.host().map(|host| one_spelling(host.to_owned()));
        Ok(Self {
            host: host.ok_or("names no host")?,
            port: parsed.port().or(other.port()),
        })
    }
}

/// What the parser of URLs leaves apart: the dot at the end of a whole name, and IPv4 addresses in IPv6's clothes.
fn one_spelling(host: Host) -> Host {
    match host {
        Host::Domain(name) => Host::Domain(name.trim_end_matches('.').to_owned()),
        Host::Ipv6(address) => host_of(address.into()),
        Host::Ipv4(_) => host,
    }
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
    }

    fn is_found(url: &str, allowed: &str) -> bool {
        find(url, &[allowed.parse().unwrap()]).is_ok()
    }

    #[test]
    fn a_host_is_allowed_in_any_of_its_spellings() {
        for allowed in [
            "192.0.2.1",
            "192.0.2.1:8080",
            "http://192.0.2.1:8080/a?b",
            "ws://192.0.2.1/",
            "0xC0000201",
            "192.0.513",
            "::ffff:192.0.2.1",
            "[::ffff:c000:201]:8080",
        ] {
            assert!(is_found("http://192.0.2.1:8080/", allowed), "{allowed}");
            assert!(
                is_found("ws://[::ffff:192.0.2.1]:8080/", allowed),
                "{allowed}"
            );
            assert!(!is_found("http://198.51.100.9:8080/", allowed), "{allowed}");
        }
        for allowed in [
            "2001:db8::1",
            "[2001:DB8:0:0::1]",
            "[2001:db8::1]:80",
            "http://[2001:db8::1]",
        ] {
            assert!(is_found("http://[2001:db8::0:1]/", allowed), "{allowed}");
            assert!(!is_found("http://[2001:db8::2]/", allowed), "{allowed}");
        }
        let named = |allowed: &str| allowed.parse::<Allowed>().unwrap();
        for same in ["Server.Example", "server.example.", "SERVER.example:80"] {
            assert!(named(same).is(&named("server.example").host, 80), "{same}");
        }
        assert_eq!(named("h:443").port, Some(443));
        let other_port = find("http://192.0.2.1:8080/", &[named("192.0.2.1:80")]).unwrap_err();
        let message = other_port.error.to_string();
        assert!(
            message.contains("port 80 of it, and this is 8080"),
            "{message}"
        );
    }

    #[test]
    fn what_names_no_host_is_told_so() {
        for text in [
            "",
            "http://",
            "a b",
            "::1::2",
            "[::1",
            "h:99999",
            "1.2.3.4.5",
        ] {
            assert!(text.parse::<Allowed>().is_err(), "{text}");
        }
        assert!(
            "a:b@h"
                .parse::<Allowed>()
                .unwrap_err()
                .contains("credentials")
        );
    }

    #[test]
    fn this_machine_has_many_addresses() {
        for url in [
            "http://0.0.0.0:8000/",
            "http://0:8000/",
            "http://[::]:8000/",
            "http://127.1.2.3/",
            "http://[::ffff:127.0.0.1]:8000/",
            "http://[::ffff:0.0.0.0]:8000/",
        ] {
            assert!(find(url, &[]).is_ok(), "{url}");
        }
        let mapped = find("http://[::ffff:127.0.0.1]:8000/", &[]).unwrap();
        assert_eq!(mapped.addresses, ["127.0.0.1:8000".parse().unwrap()]);
        let any = find("http://[::]:8000/", &[]).unwrap();
        assert_eq!(
            (any.addresses[0].to_string(), &*any.host),
            ("[::1]:8000".to_owned(), "[::]:8000")
        );
        // Its own address in a network, if it is in one.
        let own = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
            socket.connect("192.0.2.1:9")?;
            socket.local_addr()
        });
        assert!(own.is_err() || find(&format!("http://{}/", own.unwrap()), &[]).is_ok());
        for elsewhere in ["192.0.2.1", "2001:db8::1", "255.255.255.255", "224.0.0.1"] {
            assert!(!is_here(elsewhere.parse().unwrap()), "{elsewhere}");
        }
    }
}
