//! What the settings say at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_broker::{SettingChange, SettingKey, Settings};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::vhost::limit;
use crate::{
    Effective, Parameter, Pattern, Permission, Policy, PolicyKind, ROOT, Right, Subject,
    TopicPermission, User, UserLimits, Vhost, VhostLimits,
};

pub(crate) const VHOST: &str = "vhost";
pub(crate) const VHOST_LIMITS: &str = "vhost-limits";
pub(crate) const USER: &str = "user";
pub(crate) const USER_LIMITS: &str = "user-limits";
pub(crate) const PERMISSION: &str = "permission";
pub(crate) const TOPIC_PERMISSION: &str = "topic-permission";
pub(crate) const POLICY: &str = "policy";
pub(crate) const OPERATOR_POLICY: &str = "operator-policy";
pub(crate) const GLOBAL_PARAMETER: &str = "global-parameter";
/// What the kinds of parameters begin with; the component follows.
pub(crate) const PARAMETER: &str = "parameter:";
/// Set as soon as anything was changed: from then on only what is written counts.
const BEGUN: &str = "access-begun";

/// The user that is there from the first start, for whoever is on the same machine.
const GUEST: &str = "guest";

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefused {
    /// No such user, or another password.
    #[error("invalid credentials")]
    Credentials,
    /// The user may come from the same machine only.
    #[error("user can only log in via localhost")]
    NotLoopback,
}

/// Compiled permissions of a user in a virtual host.
#[derive(Clone, Debug)]
struct Patterns {
    configure: Pattern,
    write: Pattern,
    read: Pattern,
}

impl Patterns {
    fn of(&self, right: Right) -> &Pattern {
        match right {
            Right::Configure => &self.configure,
            Right::Write => &self.write,
            Right::Read => &self.read,
        }
    }
}

/// A text that was kept and is no pattern any more matches nothing.
fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap_or_else(|error| {
        tracing::warn!(%error, "a pattern in the settings is ignored");
        Pattern::new("").expect("the empty pattern is one")
    })
}

type Place = (String, String);

/// Everything about who may do what, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Access {
    begun: bool,
    vhosts: BTreeMap<String, Vhost>,
    vhost_limits: BTreeMap<String, VhostLimits>,
    users: BTreeMap<String, User>,
    user_limits: BTreeMap<String, UserLimits>,
    permissions: BTreeMap<Place, (Permission, Patterns)>,
    topic_permissions: BTreeMap<Place, Vec<(TopicPermission, Patterns)>>,
    policies: BTreeMap<Place, (Policy, Pattern)>,
    operator_policies: BTreeMap<Place, (Policy, Pattern)>,
    parameters: Vec<Parameter>,
    global_parameters: BTreeMap<String, Value>,
}

impl Access {
    /// What these settings say. Before anything was set: the virtual host `/`, and the user
    /// `guest` with password `guest`, who may do everything and comes from the same machine.
    pub fn of(settings: &Settings) -> Self {
        let mut access = Self::default();
        for (key, value) in settings {
            access.read(key, value);
        }
        if !access.begun {
            for change in Self::beginning() {
                if let SettingChange::Put(key, value) = change {
                    access.read(&key, &value);
                }
            }
            access.begun = false;
        }
        access
    }

    /// What holds before anything was set.
    fn beginning() -> Vec<SettingChange> {
        vec![
            put(&SettingKey::new(BEGUN, "", ""), &true),
            put(
                &SettingKey::new(VHOST, "", ROOT),
                &Vhost {
                    description: "Default virtual host".into(),
                    ..Vhost::default()
                },
            ),
            put(
                &SettingKey::new(USER, "", GUEST),
                &User::new("guest", &["administrator"]),
            ),
            put(
                &SettingKey::new(PERMISSION, ROOT, GUEST),
                &Permission::everything(),
            ),
        ]
    }

    /// What must be written down before the first change.
    pub(crate) fn before_first_change(&self) -> Vec<SettingChange> {
        match self.begun {
            true => Vec::new(),
            false => Self::beginning(),
        }
    }

    fn read(&mut self, key: &SettingKey, value: &str) {
        let (scope, name) = (key.scope.to_string(), key.name.to_string());
        let place = (scope, name.clone());
        match &*key.kind {
            BEGUN => self.begun = true,
            VHOST => keep(&mut self.vhosts, name, key, value),
            VHOST_LIMITS => keep(&mut self.vhost_limits, name, key, value),
            USER => keep(&mut self.users, name, key, value),
            USER_LIMITS => keep(&mut self.user_limits, name, key, value),
            GLOBAL_PARAMETER => keep(&mut self.global_parameters, name, key, value),
            PERMISSION => {
                if let Some(permission) = parse::<Permission>(key, value) {
                    let patterns = Patterns {
                        configure: pattern(&permission.configure),
                        write: pattern(&permission.write),
                        read: pattern(&permission.read),
                    };
                    self.permissions.insert(place, (permission, patterns));
                }
            }
            TOPIC_PERMISSION => {
                let list = parse::<Vec<TopicPermission>>(key, value);
                let list = list.into_iter().flatten().map(|one| {
                    let patterns = Patterns {
                        configure: pattern(""),
                        write: pattern(&one.write),
                        read: pattern(&one.read),
                    };
                    (one, patterns)
                });
                self.topic_permissions.insert(place, list.collect());
            }
            POLICY | OPERATOR_POLICY => {
                let Some(policy) = parse::<Policy>(key, value) else {
                    return;
                };
                let pattern = pattern(&policy.pattern);
                let policies = match &*key.kind {
                    POLICY => &mut self.policies,
                    _ => &mut self.operator_policies,
                };
                policies.insert(place, (policy, pattern));
            }
            other => {
                let Some(component) = other.strip_prefix(PARAMETER) else {
                    return;
                };
                if let Some(value) = parse(key, value) {
                    let (vhost, name) = place;
                    self.parameters.push(Parameter {
                        component: component.to_owned(),
                        vhost,
                        name,
                        value,
                    });
                }
            }
        }
    }

    // ---- what there is -------------------------------------------------------------------------

    /// All virtual hosts, by name.
    pub fn vhosts(&self) -> &BTreeMap<String, Vhost> {
        &self.vhosts
    }

    /// A virtual host's limits.
    pub fn vhost_limits(&self, vhost: &str) -> VhostLimits {
        self.vhost_limits.get(vhost).copied().unwrap_or_default()
    }

    /// How many queues a virtual host may have, if there is a limit.
    pub fn max_queues(&self, vhost: &str) -> Option<usize> {
        limit(self.vhost_limits(vhost).max_queues)
    }

    /// How many connections a virtual host may have, if there is a limit.
    pub fn max_connections(&self, vhost: &str) -> Option<usize> {
        limit(self.vhost_limits(vhost).max_connections)
    }

    /// All users, by name.
    pub fn users(&self) -> &BTreeMap<String, User> {
        &self.users
    }

    /// A user's limits.
    pub fn user_limits(&self, user: &str) -> UserLimits {
        self.user_limits.get(user).copied().unwrap_or_default()
    }

    /// How many connections a user may have, if there is a limit.
    pub fn max_user_connections(&self, user: &str) -> Option<usize> {
        limit(self.user_limits(user).max_connections)
    }

    /// All permissions: virtual host, user, permission.
    pub fn permissions(&self) -> impl Iterator<Item = (&str, &str, &Permission)> {
        let all = self.permissions.iter();
        all.map(|((vhost, user), (permission, _))| (&**vhost, &**user, permission))
    }

    /// All topic permissions: virtual host, user, permission.
    pub fn topic_permissions(&self) -> impl Iterator<Item = (&str, &str, &TopicPermission)> {
        let all = self.topic_permissions.iter();
        all.flat_map(|((vhost, user), list)| list.iter().map(|(one, _)| (&**vhost, &**user, one)))
    }

    /// All policies of a kind: virtual host, name, policy.
    pub fn policies(&self, kind: PolicyKind) -> impl Iterator<Item = (&str, &str, &Policy)> {
        let all = self.policies_of(kind).iter();
        all.map(|((vhost, name), (policy, _))| (&**vhost, &**name, policy))
    }

    fn policies_of(&self, kind: PolicyKind) -> &BTreeMap<Place, (Policy, Pattern)> {
        match kind {
            PolicyKind::User => &self.policies,
            PolicyKind::Operator => &self.operator_policies,
        }
    }

    /// All parameters.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// All global parameters, by name.
    pub fn global_parameters(&self) -> &BTreeMap<String, Value> {
        &self.global_parameters
    }

    // ---- what may be done ----------------------------------------------------------------------

    /// Lets a user in, or not. `loopback` is whether the peer is on the same machine.
    ///
    /// # Errors
    /// Why not.
    pub fn log_in(&self, user: &str, password: &[u8], loopback: bool) -> Result<(), LoginRefused> {
        let known = self.users.get(user);
        if !known.is_some_and(|known| known.password().is(password)) {
            return Err(LoginRefused::Credentials);
        }
        if user == GUEST && !loopback {
            return Err(LoginRefused::NotLoopback);
        }
        Ok(())
    }

    /// Whether a user has any permissions in a virtual host.
    pub fn may_enter(&self, vhost: &str, user: &str) -> bool {
        self.patterns(vhost, user).is_some()
    }

    fn patterns(&self, vhost: &str, user: &str) -> Option<&Patterns> {
        // The key is looked up by reference to avoid two copies; there are few.
        let key = (vhost.to_owned(), user.to_owned());
        self.permissions.get(&key).map(|(_, patterns)| patterns)
    }

    /// Whether a user has this right to the queue or exchange of that name.
    pub fn allows(&self, vhost: &str, user: &str, right: Right, name: &str) -> bool {
        self.patterns(vhost, user)
            .is_some_and(|patterns| patterns.of(right).matches(name))
    }

    /// Whether a user may do everything there, with all routing keys.
    pub fn allows_everything(&self, vhost: &str, user: &str) -> bool {
        let key = (vhost.to_owned(), user.to_owned());
        let all = self.patterns(vhost, user).is_some_and(|patterns| {
            [Right::Configure, Right::Write, Right::Read]
                .iter()
                .all(|right| patterns.of(*right).is_everything())
        });
        all && !self.topic_permissions.contains_key(&key)
    }

    /// Whether a user has this right to a routing key at a topic exchange. The texts `{username}`
    /// and `{vhost}` in a pattern stand for the user's and the virtual host's name.
    pub fn allows_topic(
        &self,
        (vhost, user): (&str, &str),
        right: Right,
        exchange: &str,
        routing_key: &str,
    ) -> bool {
        let key = (vhost.to_owned(), user.to_owned());
        let list = self.topic_permissions.get(&key);
        let found = list.and_then(|list| list.iter().find(|(one, _)| one.exchange == exchange));
        let Some((one, patterns)) = found else {
            return true;
        };
        let text = match right {
            Right::Write => &one.write,
            _ => &one.read,
        };
        if text.contains('{') {
            let text = text.replace("{username}", user).replace("{vhost}", vhost);
            return Pattern::new(&text).is_ok_and(|pattern| pattern.matches(routing_key));
        }
        patterns.of(right).matches(routing_key)
    }

    /// What policies make of a queue or exchange.
    pub fn effective(&self, vhost: &str, name: &str, subject: Subject) -> Effective {
        let best = |kind| {
            let all = self.policies_of(kind);
            let here = all.range((vhost.to_owned(), String::new())..);
            let here = here.take_while(|((at, _), _)| at == vhost);
            here.filter(|(_, (policy, pattern))| policy.takes(subject) && pattern.matches(name))
                .max_by_key(|(_, (policy, _))| policy.priority)
        };
        let mut effective = Effective::default();
        if let Some(((_, name), (policy, _))) = best(PolicyKind::User) {
            effective.policy = Some(name.clone());
            effective.definition.clone_from(&policy.definition);
        }
        if let Some(((_, name), (policy, _))) = best(PolicyKind::Operator) {
            effective.operator_policy = Some(name.clone());
            effective.merge(&policy.definition);
        }
        effective
    }

    // ---- changes -------------------------------------------------------------------------------

    /// Puts a virtual host there.
    pub fn put_vhost(name: &str, vhost: &Vhost) -> SettingChange {
        put(&SettingKey::new(VHOST, "", name), vhost)
    }

    /// Takes a virtual host away, with everything that is set for it.
    pub fn remove_vhost(&self, name: &str) -> Vec<SettingChange> {
        let mut changes = vec![
            SettingChange::Remove(SettingKey::new(VHOST, "", name)),
            SettingChange::Remove(SettingKey::new(VHOST_LIMITS, "", name)),
        ];
        let mut remove = |kind: &str, name_there: &str| {
            changes.push(SettingChange::Remove(SettingKey::new(
                kind, name, name_there,
            )));
        };
        for (_, user) in self.permissions.keys().filter(|(vhost, _)| vhost == name) {
            remove(PERMISSION, user);
        }
        for (_, user) in self.topic_permissions.keys().filter(|(at, _)| at == name) {
            remove(TOPIC_PERMISSION, user);
        }
        for (_, policy) in self.policies.keys().filter(|(vhost, _)| vhost == name) {
            remove(POLICY, policy);
        }
        for (_, policy) in self.operator_policies.keys().filter(|(at, _)| at == name) {
            remove(OPERATOR_POLICY, policy);
        }
        for one in self.parameters.iter().filter(|one| one.vhost == name) {
            remove(&format!("{PARAMETER}{}", one.component), &one.name);
        }
        changes
    }

    /// Sets a virtual host's limits, all of them.
    pub fn put_vhost_limits(vhost: &str, limits: &VhostLimits) -> SettingChange {
        let key = SettingKey::new(VHOST_LIMITS, "", vhost);
        match *limits == VhostLimits::default() {
            true => SettingChange::Remove(key),
            false => put(&key, limits),
        }
    }

    /// Puts a user there.
    pub fn put_user(name: &str, user: &User) -> SettingChange {
        put(&SettingKey::new(USER, "", name), user)
    }

    /// Takes a user away, with all permissions.
    pub fn remove_user(&self, name: &str) -> Vec<SettingChange> {
        let mut changes = vec![
            SettingChange::Remove(SettingKey::new(USER, "", name)),
            SettingChange::Remove(SettingKey::new(USER_LIMITS, "", name)),
        ];
        for (vhost, _) in self.permissions.keys().filter(|(_, user)| user == name) {
            changes.push(Self::remove_permission(vhost, name));
        }
        for (vhost, _) in self
            .topic_permissions
            .keys()
            .filter(|(_, user)| user == name)
        {
            let key = SettingKey::new(TOPIC_PERMISSION, vhost, name);
            changes.push(SettingChange::Remove(key));
        }
        changes
    }

    /// Sets a user's limits, all of them.
    pub fn put_user_limits(user: &str, limits: &UserLimits) -> SettingChange {
        let key = SettingKey::new(USER_LIMITS, "", user);
        match *limits == UserLimits::default() {
            true => SettingChange::Remove(key),
            false => put(&key, limits),
        }
    }

    /// Gives a user permissions in a virtual host.
    pub fn put_permission(vhost: &str, user: &str, permission: &Permission) -> SettingChange {
        put(&SettingKey::new(PERMISSION, vhost, user), permission)
    }

    /// Takes them away.
    pub fn remove_permission(vhost: &str, user: &str) -> SettingChange {
        SettingChange::Remove(SettingKey::new(PERMISSION, vhost, user))
    }

    /// Sets a user's topic permissions in a virtual host, all of them.
    pub fn put_topic_permissions(
        vhost: &str,
        user: &str,
        list: &[TopicPermission],
    ) -> SettingChange {
        let key = SettingKey::new(TOPIC_PERMISSION, vhost, user);
        match list.is_empty() {
            true => SettingChange::Remove(key),
            false => put(&key, &list),
        }
    }

    /// Puts a policy there.
    pub fn put_policy(kind: PolicyKind, vhost: &str, name: &str, policy: &Policy) -> SettingChange {
        put(&policy_key(kind, vhost, name), policy)
    }

    /// Takes a policy away.
    pub fn remove_policy(kind: PolicyKind, vhost: &str, name: &str) -> SettingChange {
        SettingChange::Remove(policy_key(kind, vhost, name))
    }

    /// Puts a parameter there.
    pub fn put_parameter(parameter: &Parameter) -> SettingChange {
        let kind = format!("{PARAMETER}{}", parameter.component);
        let key = SettingKey::new(&kind, &parameter.vhost, &parameter.name);
        put(&key, &parameter.value)
    }

    /// Takes a parameter away.
    pub fn remove_parameter(component: &str, vhost: &str, name: &str) -> SettingChange {
        let kind = format!("{PARAMETER}{component}");
        SettingChange::Remove(SettingKey::new(&kind, vhost, name))
    }

    /// Puts a global parameter there.
    pub fn put_global_parameter(name: &str, value: &Value) -> SettingChange {
        put(&SettingKey::new(GLOBAL_PARAMETER, "", name), value)
    }

    /// Takes a global parameter away.
    pub fn remove_global_parameter(name: &str) -> SettingChange {
        SettingChange::Remove(SettingKey::new(GLOBAL_PARAMETER, "", name))
    }
}

fn policy_key(kind: PolicyKind, vhost: &str, name: &str) -> SettingKey {
    let kind = match kind {
        PolicyKind::User => POLICY,
        PolicyKind::Operator => OPERATOR_POLICY,
    };
    SettingKey::new(kind, vhost, name)
}

fn put(key: &SettingKey, value: &impl Serialize) -> SettingChange {
    let text = serde_json::to_string(value);
    let text = text.expect("every key of these is a text, and writing to memory cannot fail");
    SettingChange::Put(key.clone(), Arc::from(text))
}

fn parse<T: DeserializeOwned>(key: &SettingKey, value: &str) -> Option<T> {
    match serde_json::from_str(value) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(?key, %error, "a setting cannot be read and is ignored");
            None
        }
    }
}

fn keep<T: DeserializeOwned>(
    into: &mut BTreeMap<String, T>,
    name: String,
    key: &SettingKey,
    value: &str,
) {
    if let Some(value) = parse(key, value) {
        into.insert(name, value);
    }
}

#[cfg(test)]
mod tests;
