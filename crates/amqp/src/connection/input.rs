//! Bytes from the peer, cut into frames and sent their way.

use super::{Connection, Phase, World};
use crate::error::{Code, Fault};
use crate::frame::{self, Frame, FrameError, Kind};
use crate::handshake;
use crate::method;
use crate::names::Scoped;

impl Connection {
    /// Takes as much of `input` as there is to do now; returns how many bytes that was.
    pub(crate) fn receive(&mut self, input: &[u8], world: World<'_>) -> usize {
        let mut taken = 0;
        if self.phase == Phase::ProtocolHeader {
            match self.protocol_header(input) {
                0 => return 0,
                count => taken += count,
            }
        }
        while self.wants_input() && self.phase != Phase::Closed {
            let rest = input.get(taken..).unwrap_or_default();
            match frame::take(rest, self.limits.frame_max) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    self.waits_for_answers = self.comes_after_answers(frame);
                    if !self.wants_input() {
                        break;
                    }
                    taken += frame.size();
                    self.on_frame(frame, world);
                }
                Err(error) => {
                    self.on_frame_error(error);
                    taken = input.len();
                }
            }
        }
        self.flush();
        taken
    }

    /// Whether a frame must not be acted on before everything published is answered, so that
    /// returns and errors come in the order in which a client that waits expects them.
    fn comes_after_answers(&mut self, frame: Frame<'_>) -> bool {
        let comes_after = frame.kind == Kind::Method
            && !matches!(method::id(frame.payload), Ok((60, 40 | 80 | 90 | 120)));
        if comes_after {
            self.flush();
        }
        comes_after
    }

    fn protocol_header(&mut self, input: &[u8]) -> usize {
        let expected = handshake::PROTOCOL_HEADER;
        let matching = input
            .iter()
            .zip(&expected)
            .take_while(|(got, wanted)| got == wanted)
            .count();
        if matching == expected.len() {
            self.phase = Phase::StartOk;
            method::put(&mut self.out, 0, &handshake::start());
            return matching;
        }
        if matching < input.len() {
            // What else the peer speaks: tell it what we do (4.2.2).
            self.out.extend_from_slice(&expected);
            self.phase = Phase::Closed;
        }
        0
    }

    fn on_frame_error(&mut self, error: FrameError) {
        let fault = Fault::new(Code::FrameError, error.to_string());
        match self.phase {
            Phase::Running => self.fail(0, (0, 0), fault),
            _ => self.phase = Phase::Closed,
        }
    }

    fn on_frame(&mut self, frame: Frame<'_>, world: World<'_>) {
        if frame.kind == Kind::Heartbeat {
            return;
        }
        match self.phase {
            Phase::Running if frame.channel != 0 => {
                let prefix = self.scope.prefix();
                let scoped = Scoped {
                    inner: world.catalogue,
                    prefix: prefix.as_deref(),
                };
                let world = World {
                    catalogue: &scoped,
                    ..world
                };
                self.on_channel_frame(frame, world);
            }
            Phase::ProtocolHeader | Phase::Closed => {}
            _ => self.on_connection_frame(frame, world),
        }
    }
}
