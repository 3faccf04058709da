//! Channel 0: the handshake, the end of the connection, and what concerns all of it.

use amq_protocol::protocol::{AMQPClass, connection};
use forebay_broker::Refusal;

use super::{Connection, Phase, World, method_fault};
use crate::error::{Code, Fault, Subject, refused};
use crate::frame::{Frame, Kind};
use crate::names::Scope;
use crate::rights::Rights;
use crate::{handshake, method, roster};

impl Connection {
    pub(super) fn on_connection_frame(&mut self, frame: Frame<'_>, world: World<'_>) {
        if self.phase == Phase::Closing {
            match method::id(frame.payload) {
                Ok((10, 51)) if frame.kind == Kind::Method => self.phase = Phase::Closed,
                Ok((10, 50)) if frame.kind == Kind::Method => self.close_ok(),
                _ => {}
            }
            return;
        }
        if frame.kind != Kind::Method || frame.channel != 0 {
            let fault = Fault::new(Code::UnexpectedFrame, "expected a method on channel 0");
            return self.fail(0, (0, 0), fault);
        }
        let id = method::id(frame.payload).unwrap_or_default();
        let result = match method::parse(frame.payload) {
            Ok(AMQPClass::Connection(method)) => self.on_connection_method(method, world),
            Ok(_) => Err(Fault::new(
                Code::ChannelError,
                "expected a method of class connection on channel 0",
            )),
            Err(error) => Err(method_fault(error)),
        };
        if let Err(fault) = result {
            self.fail(0, id, fault);
        }
    }

    fn on_connection_method(
        &mut self,
        method: connection::AMQPMethod,
        world: World<'_>,
    ) -> Result<(), Fault> {
        use connection::AMQPMethod as M;
        match (self.phase, method) {
            (Phase::StartOk, M::StartOk(answer)) => self.log_in(&answer, world),
            (Phase::TuneOk, M::TuneOk(answer)) => {
                self.limits = handshake::agree(&self.options, &answer)?;
                self.phase = Phase::Open;
                Ok(())
            }
            (Phase::Open, M::Open(request)) => {
                let answer = self.enter(request.virtual_host.as_str(), world)?;
                method::put(&mut self.out, 0, &answer);
                self.phase = Phase::Running;
                Ok(())
            }
            (_, M::Close(_)) => {
                self.close_ok();
                Ok(())
            }
            (Phase::Running, M::CloseOk(_)) => Ok(()),
            // There is no token to be renewed: passwords hold until they are changed.
            (Phase::Running, M::UpdateSecret(_)) => {
                let answer = M::UpdateSecretOk(connection::UpdateSecretOk {});
                method::put(&mut self.out, 0, &AMQPClass::Connection(answer));
                Ok(())
            }
            _ => Err(Fault::new(
                Code::CommandInvalid,
                "method not allowed in this state of the connection",
            )),
        }
    }

    /// Opens the virtual host, if the user may go there and there is room.
    fn enter(&mut self, vhost: &str, world: World<'_>) -> Result<AMQPClass, Fault> {
        let user = self.rights.user.clone();
        let answer = handshake::open(vhost, &user, world.access)?;
        self.scope = Scope::of(vhost);
        let limits = roster::Limits {
            of_vhost: world.access.max_connections(vhost),
            of_user: world.access.max_user_connections(&user),
        };
        let entered = world.roster.enter(&user, self.scope.vhost(), limits);
        self.place = Some(entered.map_err(|reached| handshake::crowded(reached, vhost, &user))?);
        Ok(answer)
    }

    fn log_in(&mut self, answer: &connection::StartOk, world: World<'_>) -> Result<(), Fault> {
        let (peer, result) = handshake::log_in(world.access, self.loopback, answer);
        let is_told = peer.authentication_failure_close;
        self.peer = peer;
        match result {
            Ok(user) => {
                self.rights = Rights::of(&user);
                method::put(&mut self.out, 0, &handshake::tune(&self.options));
                self.phase = Phase::TuneOk;
                Ok(())
            }
            Err(fault) if is_told => Err(fault),
            Err(_) => {
                self.phase = Phase::Closed;
                Ok(())
            }
        }
    }

    fn close_ok(&mut self) {
        self.flush();
        let answer = connection::AMQPMethod::CloseOk(connection::CloseOk {});
        method::put(&mut self.out, 0, &AMQPClass::Connection(answer));
        self.phase = Phase::Closed;
    }

    /// Ends the connection because somebody who may has asked for that.
    pub(crate) fn force_close(&mut self, reason: &str) {
        self.fail(0, (0, 0), Fault::new(Code::ConnectionForced, reason));
    }

    /// Ends the connection because the broker stops.
    pub(crate) fn shut_down(&mut self) {
        match self.phase {
            Phase::Running => {
                let fault = refused(&Refusal::Stopping, Subject::Queue(""));
                self.fail(0, (0, 0), fault);
            }
            Phase::Closing | Phase::Closed => {}
            _ => self.phase = Phase::Closed,
        }
    }

    /// Tells the peer that publishing is held up, or no longer.
    pub(crate) fn pressure(&mut self, blocked: Option<&str>) {
        if self.phase != Phase::Running || !self.peer.connection_blocked {
            return;
        }
        let method = match blocked {
            Some(reason) => connection::AMQPMethod::Blocked(connection::Blocked {
                reason: method::short(reason),
            }),
            None => connection::AMQPMethod::Unblocked(connection::Unblocked {}),
        };
        method::put(&mut self.out, 0, &AMQPClass::Connection(method));
    }
}
