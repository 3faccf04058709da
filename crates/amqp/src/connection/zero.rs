//! Channel 0: the handshake, the end of the connection, and what concerns all of it.

use amq_protocol::protocol::{AMQPClass, connection};
use forebay_broker::Refusal;

use super::{Connection, Phase, method_fault};
use crate::error::{Code, Fault, Subject, refused};
use crate::frame::{Frame, Kind};
use crate::{handshake, method};

impl Connection {
    pub(super) fn on_connection_frame(&mut self, frame: Frame<'_>) {
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
            Ok(AMQPClass::Connection(method)) => self.on_connection_method(method),
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

    fn on_connection_method(&mut self, method: connection::AMQPMethod) -> Result<(), Fault> {
        use connection::AMQPMethod as M;
        match (self.phase, method) {
            (Phase::StartOk, M::StartOk(answer)) => self.log_in(&answer),
            (Phase::TuneOk, M::TuneOk(answer)) => {
                self.limits = handshake::agree(&self.options, &answer)?;
                self.phase = Phase::Open;
                Ok(())
            }
            (Phase::Open, M::Open(request)) => {
                let answer = handshake::open(&request)?;
                method::put(&mut self.out, 0, &answer);
                self.phase = Phase::Running;
                Ok(())
            }
            (_, M::Close(_)) => {
                self.close_ok();
                Ok(())
            }
            (Phase::Running, M::CloseOk(_)) => Ok(()),
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

    fn log_in(&mut self, answer: &connection::StartOk) -> Result<(), Fault> {
        let (peer, result) = handshake::log_in(&self.options, answer);
        self.peer = peer;
        match result {
            Ok(()) => {
                method::put(&mut self.out, 0, &handshake::tune(&self.options));
                self.phase = Phase::TuneOk;
                Ok(())
            }
            Err(fault) if peer.authentication_failure_close => Err(fault),
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
