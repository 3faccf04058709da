//! Who asks, and what they may see.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_access::{Access, Keeper, Tag};

use crate::answer::{Result, Wrong};

/// A user who has logged in.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Whose name it is done in.
    pub(crate) user: String,
    /// Nothing is asked: whoever runs the program, or an administrator taking definitions in.
    pub(crate) unlimited: bool,
    pub(crate) access: Arc<Access>,
}

impl Caller {
    /// By the `Authorization` header (RFC 7617).
    pub(crate) fn of(headers: &HeaderMap, peer: IpAddr, keeper: &Keeper) -> Result<Self> {
        let refused = Wrong::NotAllowed("Login failed");
        let (user, password) = credentials(headers).ok_or(refused.clone())?;
        let access = keeper.now();
        let loopback = peer.to_canonical().is_loopback();
        if access.log_in(&user, password.as_bytes(), loopback).is_err() {
            return Err(refused);
        }
        let caller = Self {
            user,
            unlimited: false,
            access,
        };
        caller.must_have(Tag::Management)?;
        Ok(caller)
    }

    pub(crate) fn has(&self, tag: Tag) -> bool {
        let known = self.access.users().get(&self.user);
        self.unlimited || known.is_some_and(|known| known.has(tag))
    }

    pub(crate) fn must_have(&self, tag: Tag) -> Result<()> {
        match self.has(tag) {
            true => Ok(()),
            false => Err(Wrong::NotAllowed(match tag {
                Tag::Management => "Not management user",
                Tag::Policymaker => "Not policymaker",
                Tag::Monitoring => "Not monitor user",
                Tag::Administrator => "Not administrator user",
            })),
        }
    }

    /// Whether what is in a virtual host may be listed.
    pub(crate) fn sees(&self, vhost: &str) -> bool {
        self.access.may_enter(vhost, &self.user) || self.has(Tag::Monitoring)
    }

    /// Refuses unless the virtual host is there and may be seen.
    pub(crate) fn must_see(&self, vhost: &str) -> Result<()> {
        self.must_be_let_in(vhost, self.sees(vhost))
    }

    /// Refuses unless the user has permissions in the virtual host, which is there.
    pub(crate) fn must_enter(&self, vhost: &str) -> Result<()> {
        let may = self.unlimited || self.access.may_enter(vhost, &self.user);
        self.must_be_let_in(vhost, may)
    }

    fn must_be_let_in(&self, vhost: &str, may: bool) -> Result<()> {
        if !self.access.vhosts().contains_key(vhost) {
            return Err(Wrong::NotFound);
        }
        match may {
            true => Ok(()),
            false => Err(Wrong::NotAllowed(
                "User not authorised to access virtual host",
            )),
        }
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = given.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
