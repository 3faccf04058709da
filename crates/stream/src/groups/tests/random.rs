//! What holds whatever the members do.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// How many consumers there are. Those from [`STATIC`] on have a static name.
const CONSUMERS: usize = 5;
const STATIC: usize = 3;
const DELAY_MS: u64 = 100;
/// The most patient consumer's rebalance timeout.
const PATIENCE_MS: u64 = 4_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Joins, if need be more than once.
    Join {
        skip: bool,
    },
    Sync,
    Heartbeat,
    Leave,
    /// Starts anew and knows nothing.
    Crash,
    /// Time passes.
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        5 => any::<bool>().prop_map(|skip| Step::Join { skip }),
        5 => Just(Step::Sync),
        2 => Just(Step::Heartbeat),
        1 => Just(Step::Leave),
        1 => Just(Step::Crash),
        4 => (1..1_500_u64).prop_map(Step::Pass),
    ];
    vec((0..CONSUMERS, step), 1..120)
}

/// What a consumer knows of itself.
#[derive(Clone, Debug, Default)]
struct Consumer {
    id: String,
    generation: i32,
    leads: Vec<String>,
    synced: bool,
    waits_for: Option<Token>,
}

struct World {
    stage: Stage,
    consumers: Vec<Consumer>,
    /// Whose each request is, when it was made, and whether it is answered.
    asked: BTreeMap<Token, (usize, Timestamp)>,
    names: usize,
    newest: i32,
    /// Who was told to assign the work of each generation.
    leaders: BTreeMap<i32, BTreeSet<String>>,
}

impl World {
    fn new() -> Self {
        let settings = GroupSettings {
            initial_delay_ms: DELAY_MS,
            forget_empty_ms: u64::MAX,
            ..GroupSettings::default()
        };
        Self {
            stage: Stage::new(settings),
            consumers: vec![Consumer::default(); CONSUMERS],
            asked: BTreeMap::new(),
            names: 0,
            newest: 0,
            leaders: BTreeMap::new(),
        }
    }

    fn instance(who: usize) -> Option<String> {
        (who >= STATIC).then(|| format!("static {who}"))
    }

    fn run(&mut self, who: usize, step: Step) {
        match step {
            Step::Join { skip } => self.join(who, skip),
            Step::Sync => self.sync(who),
            Step::Heartbeat => self.heartbeat(who),
            Step::Leave => {
                let id = self.consumers[who].id.clone();
                let instance = Self::instance(who);
                self.stage.leave(&[(&id, instance.as_deref())]).ok();
                self.consumers[who] = Consumer::default();
            }
            Step::Crash => self.consumers[who] = Consumer::default(),
            Step::Pass(milliseconds) => {
                for _ in 0..milliseconds {
                    self.stage.pass(1);
                    self.read();
                }
            }
        }
        self.read();
    }

    fn heartbeat(&mut self, who: usize) {
        let instance = Self::instance(who);
        let consumer = &mut self.consumers[who];
        match self
            .stage
            .heartbeat_as(&consumer.id, consumer.generation, instance.as_deref())
        {
            Ok(()) => {}
            Err(GroupRefusal::UnknownMember | GroupRefusal::FencedInstance) => {
                *consumer = Consumer::default();
            }
            Err(_) => {
                consumer.synced = false;
                consumer.generation = 0;
            }
        }
    }

    fn join(&mut self, who: usize, skip: bool) {
        self.names += 1;
        let request = JoinRequest {
            member: self.consumers[who].id.clone(),
            instance: Self::instance(who),
            require_known_member: who.is_multiple_of(2),
            session_timeout_ms: 1_000 + 500 * who as u64,
            rebalance_timeout_ms: PATIENCE_MS / (who as u64 + 1),
            can_skip_assignment: skip,
            ..newcomer(&format!("{who}/{}", self.names))
        };
        let token = self.stage.join(request);
        self.ask(who, token);
    }

    fn sync(&mut self, who: usize) {
        let Consumer {
            id,
            generation,
            leads,
            ..
        } = self.consumers[who].clone();
        let share = |member: &String| (member.clone(), format!("generation {generation}"));
        let shares: Vec<_> = leads.iter().map(share).collect();
        let shares: Vec<_> = shares
            .iter()
            .map(|(id, share)| (id.as_str(), share.as_str()))
            .collect();
        let token = self.stage.sync(&id, generation, &shares);
        self.ask(who, token);
    }

    fn ask(&mut self, who: usize, token: Token) {
        self.asked.insert(token, (who, self.stage.now));
        self.consumers[who].waits_for = Some(token);
    }

    fn read(&mut self) {
        for (token, reply) in std::mem::take(&mut self.stage.replies) {
            let (who, _) = self
                .asked
                .remove(&token)
                .expect("only what was asked is answered");
            // Replies to what a consumer no longer waits for are lost.
            let heard = self.consumers[who].waits_for == Some(token);
            if heard {
                self.consumers[who].waits_for = None;
            }
            match reply {
                GroupReply::Join(Ok(joined)) => self.joined(who, joined, heard),
                GroupReply::Sync(Ok(synced)) if heard => {
                    let share = format!("generation {}", self.consumers[who].generation);
                    assert!(
                        synced.assignment.is_empty() || synced.assignment == share.as_bytes(),
                        "an assignment is of the generation it is given for"
                    );
                    self.consumers[who].synced = true;
                }
                GroupReply::Join(Err(refused)) if heard => match refused.refusal {
                    GroupRefusal::MemberIdRequired => self.consumers[who].id = refused.member,
                    GroupRefusal::RebalanceInProgress => {}
                    _ => self.consumers[who] = Consumer::default(),
                },
                GroupReply::Sync(Err(refusal)) if heard => {
                    self.consumers[who].synced = false;
                    self.consumers[who].generation = 0;
                    if matches!(
                        refusal,
                        GroupRefusal::UnknownMember | GroupRefusal::FencedInstance
                    ) {
                        self.consumers[who] = Consumer::default();
                    }
                }
                _ => {}
            }
        }
        let late =
            |(_, at): &(usize, Timestamp)| self.stage.now.ms_since(*at) > DELAY_MS + PATIENCE_MS;
        assert!(!self.asked.values().any(late), "nobody waits for ever");
    }

    fn joined(&mut self, who: usize, joined: Joined, heard: bool) {
        assert!(joined.generation >= self.newest, "generations only grow");
        self.newest = joined.generation;
        if joined.leader == joined.member && !joined.skip_assignment {
            let leaders = self.leaders.entry(joined.generation).or_default();
            leaders.insert(joined.member.clone());
            assert_eq!(leaders.len(), 1, "one generation, one leader");
        }
        if heard {
            self.consumers[who] = Consumer {
                id: joined.member,
                generation: joined.generation,
                leads: joined
                    .members
                    .into_iter()
                    .map(|member| member.member)
                    .collect(),
                synced: false,
                waits_for: None,
            };
        }
    }

    /// Every consumer does what it should, once.
    fn behave(&mut self) {
        for who in 0..CONSUMERS {
            if self.consumers[who].waits_for.is_some() {
                continue;
            }
            if self.consumers[who].synced {
                self.run(who, Step::Heartbeat);
            }
            let Consumer {
                generation, synced, ..
            } = self.consumers[who];
            if !synced && generation == 0 {
                self.run(who, Step::Join { skip: true });
            } else if !synced && generation < self.newest {
                self.consumers[who].generation = 0;
            } else if !synced {
                self.run(who, Step::Sync);
            }
        }
        self.run(0, Step::Pass(200));
    }

    fn is_settled(&self) -> bool {
        let settled = |consumer: &Consumer| consumer.synced && consumer.generation == self.newest;
        self.consumers.iter().all(settled)
    }
}

proptest! {
    /// Every request is answered, once and in bounded time; a generation has one leader;
    /// generations only grow; and once all members behave, they share one stable generation.
    #[test]
    fn members_that_misbehave_do_no_lasting_harm(steps in steps()) {
        let mut world = World::new();
        for (who, step) in steps {
            world.run(who, step);
        }
        for _ in 0..100 {
            world.behave();
            if world.is_settled() {
                break;
            }
        }
        prop_assert!(world.is_settled(), "{:?}", world.stage.groups.describe(GROUP));
        prop_assert_eq!(world.stage.phase(), GroupPhase::Stable);
        world.consumers = vec![Consumer::default(); CONSUMERS];
        world.run(0, Step::Pass(DELAY_MS + PATIENCE_MS + 5_000));
        prop_assert!(world.asked.is_empty(), "everything asked is answered");
        prop_assert_eq!(world.stage.phase(), GroupPhase::Empty);
    }
}
