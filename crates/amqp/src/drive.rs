//! Runs one connection: moves bytes between the socket and the state machine, and commands and
//! events between it and the broker. One task; it waits for whatever comes first.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use forebay_access::Access;
use forebay_base::Timestamp;
use forebay_broker::{
    ConsumerId, Cursor, Delivered, Deliveries, Event, Pressure, ReadError, Reply, Session,
    SessionHandle,
};
use hashbrown::HashMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::connection::{Connection, Queued, Then, World};
use crate::direct_reply::{self, Answer, Desk};
use crate::error::{Code, Fault};
use crate::frame::put_heartbeat;
use crate::limits::{
    CLOSE_MS, HANDSHAKE_MS, HEARTBEAT_S, READ_BUFFER, READ_BUFFER_MAX, READ_BYTES, WRITE_HIGH,
    WRITE_KEEP,
};
use crate::methods::basic;
use crate::outbox::{self, Piece};
use crate::roster::{Ask, ConnectionReport, Place};
use crate::serve::Hall;

/// Serves a connection until it has ended.
pub(crate) async fn drive(
    mut stream: TcpStream,
    hall: Arc<Hall>,
    stop: CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let ends = (stream.peer_addr()?, stream.local_addr()?);
    let loopback = ends.0.ip().to_canonical().is_loopback();
    let session = hall.broker.session();
    let seed = Uuid::new_v4().as_u128();
    let link = Connection::new(hall.options.clone(), session.id(), seed, loopback);
    let mut driver = Driver::new(hall, session, link, Some(ends));
    let (reader, writer) = stream.split();
    driver.run(reader, writer, stop).await
}

/// Serves a connection of our own, open from the first.
pub(crate) async fn drive_inside(
    stream: DuplexStream,
    hall: Arc<Hall>,
    (user, vhost): (Option<String>, String),
    stop: CancellationToken,
) -> io::Result<()> {
    let session = hall.broker.session();
    let seed = Uuid::new_v4().as_u128();
    let who = (user.as_deref(), &*vhost);
    let link = Connection::inside(hall.options.clone(), session.id(), seed, who);
    let mut driver = Driver::new(hall, session, link, None);
    let (reader, writer) = tokio::io::split(stream);
    driver.run(reader, writer, stop).await
}

impl Driver {
    fn new(
        hall: Arc<Hall>,
        session: Session,
        link: Connection,
        ends: Option<(SocketAddr, SocketAddr)>,
    ) -> Self {
        let (desk, answers) = hall.switchboard.desk();
        let access_version = hall.keeper.version();
        Driver {
            link,
            handle: session.handle(),
            pressure: hall.broker.pressure(),
            access: hall.keeper.now(),
            access_version,
            ends,
            opened: hall.broker.now(),
            received: 0,
            sent: 0,
            hall,
            session: Some(session),
            input: BytesMut::new(),
            wants_bytes: true,
            read_size: READ_BUFFER,
            written: 0,
            cursors: HashMap::new(),
            desk,
            answers,
            blocked: false,
            stage: Stage::Handshake,
            deadline: Some(Instant::now() + Duration::from_millis(HANDSHAKE_MS)),
            pulse: Pulse::new(0),
        }
    }
}

/// Heartbeats, both ways (AMQP 0-9-1, 4.2.7).
struct Pulse {
    /// Seconds; 0 if there are none.
    interval: u16,
    ticks: Interval,
    last_read: Instant,
    wrote: bool,
}

impl Pulse {
    fn new(interval: u16) -> Self {
        let tick = match interval {
            0 => Duration::from_secs(u64::from(HEARTBEAT_S)),
            // Twice in each interval, so that the peer never sees a whole one pass in silence.
            seconds => Duration::from_secs(u64::from(seconds)) / 2,
        };
        let mut ticks = tokio::time::interval_at(Instant::now() + tick, tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            interval,
            ticks,
            last_read: Instant::now(),
            wrote: false,
        }
    }

    /// Whether the peer has been silent for two intervals.
    fn is_lost(&self) -> bool {
        let patience = Duration::from_secs(2 * u64::from(self.interval));
        self.interval > 0 && self.last_read.elapsed() > patience
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshake,
    Open,
    Closing,
}

struct Driver {
    hall: Arc<Hall>,
    access: Arc<Access>,
    access_version: u64,
    /// The peer's address and ours; none for a connection of our own.
    ends: Option<(SocketAddr, SocketAddr)>,
    opened: Timestamp,
    /// Bytes that came and went.
    received: u64,
    sent: u64,
    /// Ended as soon as the connection is closing, so that what it held is free before the peer
    /// learns of the end.
    session: Option<Session>,
    handle: SessionHandle,
    pressure: watch::Receiver<Pressure>,
    link: Connection,
    /// Bytes read and not taken.
    input: BytesMut,
    /// What is in `input` is only the beginning of a frame.
    wants_bytes: bool,
    /// How much room the next read gets, bytes.
    read_size: usize,
    /// How much of the machine's output is written.
    written: usize,
    cursors: HashMap<ConsumerId, Cursor>,
    desk: Desk,
    /// Direct replies that arrive.
    answers: mpsc::Receiver<Answer>,
    /// The peer was told that publishing is held up.
    blocked: bool,
    stage: Stage,
    /// When the stage must be over.
    deadline: Option<Instant>,
    pulse: Pulse,
}

impl Driver {
    async fn run(
        &mut self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let mut stopping = false;
        loop {
            self.work().await;
            self.keep_time();
            if self.link.is_closing() {
                self.session = None;
            }
            let unwritten = self.link.out.len() - self.written;
            if self.link.is_closed() && unwritten == 0 {
                return writer.shutdown().await;
            }
            let reads = self.link.wants_input() && !self.link.is_closed();
            if reads {
                self.input.reserve(self.read_size);
            }
            let deadline = self.deadline;
            tokio::select! {
                read = reader.read_buf(&mut self.input), if reads => {
                    match read? {
                        0 => return Ok(()),
                        count => self.on_read(count),
                    }
                }
                count = writer.write(&self.link.out[self.written..]), if unwritten > 0 => {
                    self.on_write(count?)?;
                }
                event = next_event(&mut self.session), if unwritten < WRITE_HIGH => match event {
                    Some(event) => self.on_event(event).await,
                    None => self.link.shut_down(),
                },
                Some(answer) = self.answers.recv(), if unwritten < WRITE_HIGH => {
                    direct_reply::on_answer(&mut self.link, &answer);
                }
                Some(ask) = next_ask(&mut self.link.place) => self.on_ask(ask),
                _ = self.pulse.ticks.tick() => {
                    if self.on_tick(reads) {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                () = sleep_until(deadline), if deadline.is_some() => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                changed = self.pressure.changed(), if self.session.is_some() => {
                    if changed.is_err() {
                        self.link.shut_down();
                    }
                }
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.link.shut_down();
                }
            }
        }
    }

    /// Does all there is to do without waiting for anyone but the broker's mailbox and disk.
    async fn work(&mut self) {
        loop {
            if self.link.wants_input() && !self.wants_bytes {
                self.renew_access();
                let world = World {
                    catalogue: self.hall.broker.directory(),
                    desk: &self.desk,
                    now: self.hall.broker.now(),
                    access: &self.access,
                    access_version: self.access_version,
                    roster: &self.hall.roster,
                };
                let taken = self.link.receive(&self.input, world);
                self.input.advance(taken);
                self.wants_bytes = self.link.wants_input() || self.input.is_empty();
            }
            self.submit().await;
            while self.link.out.len() - self.written < WRITE_HIGH {
                match self.session.as_mut().and_then(Session::try_next) {
                    Some(event) => self.on_event(event).await,
                    None => break,
                }
            }
            self.link.confirm();
            self.tell_pressure();
            while self.link.out.len() - self.written < WRITE_HIGH {
                let Some(piece) = outbox::next_piece(&mut self.link) else {
                    break;
                };
                self.deliver(piece).await;
            }
            self.link.flush();
            self.submit().await;
            if self.wants_bytes || !self.link.wants_input() {
                return;
            }
        }
    }

    /// Looks whether users, permissions or limits have changed since the last time.
    fn renew_access(&mut self) {
        let version = self.hall.keeper.version();
        if version != self.access_version {
            self.access = self.hall.keeper.now();
            self.access_version = version;
        }
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Close(reason) => self.link.force_close(&reason),
            Ask::Report(answer) => {
                let Some((peer, own)) = self.ends else { return };
                let report = ConnectionReport {
                    name: format!("{peer} -> {own}"),
                    peer,
                    own,
                    opened: self.opened,
                    received: self.received,
                    sent: self.sent,
                    blocked: self.blocked,
                    ..self.link.report(own)
                };
                // Whoever asked may have left.
                let _ = answer.send(report);
            }
        }
    }

    fn on_read(&mut self, count: usize) {
        self.received += count as u64;
        self.pulse.last_read = Instant::now();
        self.wants_bytes = false;
        if count >= self.read_size {
            self.read_size = (self.read_size * 2).min(READ_BUFFER_MAX);
        } else if count < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(READ_BUFFER);
        }
    }

    fn on_write(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.pulse.wrote = true;
        self.sent += count as u64;
        self.written += count;
        let out = &mut self.link.out;
        if self.written == out.len() {
            out.clear();
            self.written = 0;
            outbox::on_written(&mut self.link);
        } else if self.written >= WRITE_HIGH {
            out.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }

    /// Sends a heartbeat if nothing else was sent, and lets idle buffers go. Whether the peer is
    /// lost.
    fn on_tick(&mut self, reads: bool) -> bool {
        if !reads || self.blocked {
            // It may have spoken, and we did not listen; or it was told to wait, and is silent.
            self.pulse.last_read = Instant::now();
        }
        if self.pulse.is_lost() {
            return true;
        }
        let wrote = std::mem::take(&mut self.pulse.wrote);
        if self.pulse.interval > 0 && !wrote && self.link.out.is_empty() {
            put_heartbeat(&mut self.link.out);
        }
        if self.link.out.is_empty() {
            self.link.out.shrink_to(WRITE_KEEP);
        }
        if self.input.is_empty() && self.read_size == READ_BUFFER {
            self.input = BytesMut::new();
        }
        false
    }

    /// Follows the stages of the connection: each has its own deadline, and heartbeats are for
    /// open ones.
    fn keep_time(&mut self) {
        let stage = if self.link.is_closing() {
            Stage::Closing
        } else if self.link.is_open() {
            Stage::Open
        } else {
            Stage::Handshake
        };
        if stage == self.stage {
            return;
        }
        self.stage = stage;
        let (deadline, heartbeat) = match stage {
            Stage::Handshake => (Some(HANDSHAKE_MS), 0),
            Stage::Open => (None, self.link.limits.heartbeat),
            Stage::Closing => (Some(CLOSE_MS), 0),
        };
        self.deadline = deadline.map(|ms| Instant::now() + Duration::from_millis(ms));
        self.pulse = Pulse::new(heartbeat);
    }

    /// Tells a publisher, as RabbitMQ does, and nobody else: clients write nothing at all on a
    /// connection that is blocked, so a consumer would cease to ack.
    fn tell_pressure(&mut self) {
        let reason = match &*self.pressure.borrow() {
            Pressure::StorageFull(reason) if self.link.is_publisher => Some(reason.clone()),
            Pressure::StorageFull(_) | Pressure::None => None,
        };
        if self.link.is_open() && reason.is_some() != self.blocked {
            self.blocked = reason.is_some();
            self.link.pressure(reason.as_deref());
        }
    }

    async fn submit(&mut self) {
        let commands = self.link.take_commands();
        if self.session.is_none() {
            return;
        }
        for Queued { command, then } in commands {
            let sent = match then {
                Then::Nothing => self.handle.tell(command).await.map(|()| None),
                _ => self.handle.submit(command).await.map(Some),
            };
            match sent {
                Ok(Some(request)) => self.link.submitted(request, then),
                Ok(None) => {}
                Err(refusal) => {
                    self.link.on_answer(then, Err(refusal));
                }
            }
        }
    }

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::Delivery {
                consumer,
                deliveries,
            } => outbox::on_delivery(&mut self.link, consumer, deliveries),
            Event::ConsumerCancelled { consumer } => {
                self.cursors.remove(&consumer);
                self.link.on_consumer_cancelled(consumer);
            }
            Event::Reply { request, result } => {
                let result = match result {
                    Ok(Reply::Deliveries(got)) if !got.is_empty() => {
                        match self.read_one(&got).await {
                            Some(delivered) => {
                                self.link.forget(request);
                                return basic::read(&mut self.link, delivered);
                            }
                            None => Ok(Reply::Deliveries(Deliveries {
                                runs: Vec::new(),
                                ..got
                            })),
                        }
                    }
                    other => other,
                };
                self.link.on_reply(request, result);
            }
        }
    }

    async fn read_one(&mut self, got: &Deliveries) -> Option<Delivered> {
        match self.hall.broker.records(got, &mut Cursor::default()).await {
            Ok(read) => read.into_iter().next(),
            Err(error) => {
                self.on_read_error(&error);
                None
            }
        }
    }

    async fn deliver(&mut self, mut piece: Piece) {
        let cursor = self.cursors.entry(piece.consumer).or_default();
        let read = self
            .hall
            .broker
            .records_within(piece.deliveries, READ_BYTES, cursor);
        match read.await {
            Ok(portion) => {
                piece.deliveries = portion.deliveries;
                outbox::put_back(&mut self.link, &piece, portion.rest);
                outbox::write(&mut self.link, &piece, &portion.delivered);
            }
            Err(error) => self.on_read_error(&error),
        }
        if !self.link.consumers.contains_key(&piece.consumer) {
            self.cursors.remove(&piece.consumer);
        }
    }

    fn on_read_error(&mut self, error: &ReadError) {
        tracing::error!(%error, "a stored message could not be read");
        let fault = Fault::new(Code::InternalError, "a stored message could not be read");
        self.link.fail(0, (0, 0), fault);
    }
}

/// The next question to a connection; never one before it is open.
async fn next_ask(place: &mut Option<Place>) -> Option<Ask> {
    match place {
        Some(place) => place.asks.recv().await,
        None => std::future::pending().await,
    }
}

/// The next event of a session; never one if it has ended.
async fn next_event(session: &mut Option<Session>) -> Option<Event> {
    match session {
        Some(session) => session.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
