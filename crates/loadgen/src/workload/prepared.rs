//! A request that repeats, prepared for both places it can have on its connection.

use sockrates_core::lane::Lifecycle;

use super::Exchanges;
use crate::transport::{Peer, Request, Transport};

/// The request, ready to be sent.
#[derive(Debug)]
pub(super) struct Prepared<P> {
    /// As a request after which the connection goes on; empty when there is none.
    pub(super) among: P,
    /// As the last request on its connection; empty when there is none.
    last: P,
}

impl<P: Default> Prepared<P> {
    /// Prepares a request for connections that live for so many exchanges. `None` says that the transport cannot carry it.
    pub(super) fn new<S, T: Transport<S, Prepared = P>>(
        request: &Request<'_>,
        exchanges: Exchanges,
        peer: &Peer,
    ) -> Option<Self> {
        let prepare = |lifecycle| {
            let mut prepared = P::default();
            let peer = Peer {
                lifecycle,
                ..peer.clone()
            };
            T::prepare(request, &peer, &mut prepared)?;
            Some(prepared)
        };
        Some(Self {
            among: match exchanges {
                Exchanges(1) => P::default(),
                _ => prepare(Lifecycle::Persistent)?,
            },
            last: match exchanges {
                Exchanges::UNLIMITED => P::default(),
                _ => prepare(Lifecycle::PerRequest)?,
            },
        })
    }
}

impl<P> Prepared<P> {
    /// Returns the request for one of its places.
    #[inline]
    pub(super) const fn at(&self, is_last: bool) -> &P {
        if is_last { &self.last } else { &self.among }
    }
}
