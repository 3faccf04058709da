//! What a connection says of itself when it is asked.

use std::net::SocketAddr;

use forebay_base::Timestamp;

use super::Connection;
use crate::channel::Channel;
use crate::method;
use crate::roster::{ChannelReport, ConnectionReport, ConsumerReport};

impl Connection {
    /// All that is known in here; the rest stands for what the driver knows.
    pub(crate) fn report(&self, unknown: SocketAddr) -> ConnectionReport {
        let mut channels: Vec<_> = self.channels.iter().collect();
        channels.sort_unstable_by_key(|(number, _)| **number);
        ConnectionReport {
            name: String::new(),
            peer: unknown,
            own: unknown,
            opened: Timestamp::default(),
            received: 0,
            sent: 0,
            blocked: false,
            user: self.rights.user.clone(),
            vhost: self.scope.vhost().clone(),
            mechanism: self.peer.mechanism,
            client_properties: method::table_of(&self.peer.properties),
            frame_max: self.limits.frame_max,
            channel_max: self.limits.channel_max,
            heartbeat: self.limits.heartbeat,
            channels: channels
                .into_iter()
                .map(|(number, channel)| self.report_channel(*number, channel))
                .collect(),
        }
    }

    fn report_channel(&self, number: u16, channel: &Channel) -> ChannelReport {
        let mut consumers: Vec<_> = channel
            .consumers
            .iter()
            .filter_map(|(tag, id)| {
                let consumer = self.consumers.get(id)?;
                Some(ConsumerReport {
                    tag: tag.clone(),
                    queue: consumer.queue.clone(),
                    no_ack: consumer.no_ack,
                    prefetch: consumer.prefetch,
                    exclusive: consumer.exclusive,
                    priority: consumer.priority,
                })
            })
            .collect();
        consumers.sort_by(|one, other| one.tag.cmp(&other.tag));
        ChannelReport {
            number,
            prefetch: channel.prefetch,
            shared_prefetch: channel.shared_prefetch.unwrap_or(0),
            unacked: channel.unacked.len(),
            unconfirmed: channel.confirms.as_ref().map_or(0, |one| one.waiting()),
            confirms: channel.confirms.is_some(),
            consumers,
        }
    }
}
