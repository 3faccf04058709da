//! The present state, and the one way to change it.

use std::sync::Arc;

use forebay_broker::{Broker, Command, Refusal, SettingChange};
use parking_lot::RwLock;
use tokio::sync::Mutex;

use crate::Access;

/// Gives the present [`Access`] and changes it: cheap to clone, one for all front ends.
#[derive(Clone, Debug)]
pub struct Keeper {
    broker: Broker,
    known: Arc<RwLock<(u64, Arc<Access>)>>,
    /// Changes are made one after the other.
    turn: Arc<Mutex<()>>,
}

impl Keeper {
    /// What this broker's settings say.
    pub fn new(broker: Broker) -> Self {
        let version = broker.directory().settings_version();
        let access = Arc::new(Access::of(&broker.directory().settings()));
        Self {
            broker,
            known: Arc::new(RwLock::new((version, access))),
            turn: Arc::default(),
        }
    }

    /// Another number than before if something has changed since.
    pub fn version(&self) -> u64 {
        self.broker.directory().settings_version()
    }

    /// How things stand now.
    pub fn now(&self) -> Arc<Access> {
        let version = self.version();
        {
            let known = self.known.read();
            if known.0 == version {
                return known.1.clone();
            }
        }
        let access = Arc::new(Access::of(&self.broker.directory().settings()));
        let mut known = self.known.write();
        if known.0 < version {
            *known = (version, access.clone());
        }
        access
    }

    /// Makes changes, all in one commit, and returns when they are durable and [`Keeper::now`]
    /// shows them. What to change is asked for when nobody else changes anything.
    ///
    /// # Errors
    /// [`Refusal::Stopping`] only.
    pub async fn change(
        &self,
        changes: impl FnOnce(&Access) -> Vec<SettingChange>,
    ) -> Result<(), Refusal> {
        let _turn = self.turn.lock().await;
        let access = self.now();
        let mut all = access.before_first_change();
        all.extend(changes(&access));
        self.broker.call(Command::Set(all)).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use forebay_base::SystemClock;
    use forebay_broker::Options;

    use super::*;
    use crate::{Permission, User};

    #[tokio::test]
    async fn a_change_is_seen_at_once_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Broker::open(Options::new(dir.path()), Arc::new(SystemClock)).unwrap();
        let (broker, running) = open();
        let keeper = Keeper::new(broker);
        assert!(keeper.now().users().contains_key("guest"));
        keeper
            .change(|_| vec![Access::put_user("u", &User::new("p", &["management"]))])
            .await
            .unwrap();
        keeper.change(|now| now.remove_user("guest")).await.unwrap();
        assert!(keeper.now().log_in("u", b"p", false).is_ok());
        running.shutdown().await.unwrap();

        let (broker, running) = open();
        let keeper = Keeper::new(broker);
        let now = keeper.now();
        assert_eq!(now.users().keys().collect::<Vec<_>>(), ["u"]);
        assert!(!now.may_enter("/", "guest"));
        keeper
            .change(|_| vec![Access::put_permission("/", "u", &Permission::everything())])
            .await
            .unwrap();
        assert!(keeper.now().allows_everything("/", "u"));
        running.shutdown().await.unwrap();
    }
}
