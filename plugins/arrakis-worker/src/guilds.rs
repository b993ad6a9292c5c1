//! The guilds that this instance holds in memory: those whose join it handled.
//!
//! Who holds a guild is written in its row. A leave may be handled by another instance, which cannot reach
//! this memory: so each instance looks, once a second and some guilds at a time, whether those that it
//! holds are still its own, and lets go of the others.

use std::{collections::HashMap, time::Duration};

use ledger::{Ledger, sql};
use wavetank_sdk::{Json, Result, time};

/// How often an instance looks, and after how many guilds at a time.
const EVERY: Duration = Duration::from_secs(1);
const LOOKED_AFTER: usize = 200;

#[derive(Debug, Default)]
struct Guild {
    name: String,
    members: HashMap<Box<str>, Member>,
    channels: HashMap<Box<str>, Box<str>>,
    messages: u64,
}

#[derive(Debug, Default)]
struct Member {
    name: Box<str>,
    roles: Vec<Box<str>>,
}

/// The guilds of an instance.
#[derive(Debug, Default)]
pub(crate) struct Guilds {
    of: HashMap<String, Guild>,
    /// Those that are still to be looked after in this round.
    round: Vec<String>,
    looked: u64,
}

fn text(value: &Json) -> Box<str> {
    value.as_str().unwrap_or_default().into()
}

impl Guilds {
    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }

    pub(crate) fn members(&self) -> usize {
        self.of.values().map(|guild| guild.members.len()).sum()
    }

    /// Bytes of names and ids, without what keeping them takes.
    pub(crate) fn content(&self) -> usize {
        self.of.iter().map(|(id, guild)| id.len() + guild.content()).sum()
    }

    /// Holds a guild as its join describes it: `{name, members: [{user_id, name, roles}], channels:
    /// [{channel_id, name}]}`.
    pub(crate) fn hold(&mut self, guild: &str, data: &Json) {
        let mut held = Guild { name: text(&data["name"]).into(), ..Guild::default() };
        for member in data["members"].as_array().into_iter().flatten() {
            if let Some(id) = crate::id(&member["user_id"]) {
                held.members.insert(id.into(), Member::of(member));
            }
        }
        held.take_channels(data);
        self.of.insert(guild.to_owned(), held);
    }

    pub(crate) fn update(&mut self, guild: &str, data: &Json) {
        let Some(held) = self.of.get_mut(guild) else { return };
        if let Some(name) = data["name"].as_str() {
            name.clone_into(&mut held.name);
        }
        held.take_channels(data);
    }

    pub(crate) fn message(&mut self, guild: &str) {
        if let Some(held) = self.of.get_mut(guild) {
            held.messages += 1;
        }
    }

    /// Messages in the guilds that it holds, as far as it handled them.
    pub(crate) fn messages(&self) -> u64 {
        self.of.values().map(|guild| guild.messages).sum()
    }

    pub(crate) fn drop(&mut self, guild: &str) {
        self.of.remove(guild);
    }

    pub(crate) fn member_joined(&mut self, guild: &str, user: &str, data: &Json) {
        if let Some(held) = self.of.get_mut(guild) {
            held.members.insert(user.into(), Member::of(data));
        }
    }

    pub(crate) fn member_left(&mut self, guild: &str, user: &str) {
        if let Some(held) = self.of.get_mut(guild) {
            held.members.remove(user);
        }
    }

    /// Lets go of some of those guilds that are another's, or nobody's, if it is time.
    pub(crate) fn sweep(&mut self, ledger: &Ledger) -> Result {
        let now = time::now();
        if self.of.is_empty() || Duration::from_nanos(now.saturating_sub(self.looked)) < EVERY {
            return Ok(());
        }
        self.looked = now;
        if self.round.is_empty() {
            self.round = self.of.keys().cloned().collect();
        }
        let some = self.round.split_off(self.round.len().saturating_sub(LOOKED_AFTER));
        let places = vec!["?"; some.len()].join(", ");
        let mut asking = sql(&format!(
            "SELECT guild_id FROM guilds WHERE holder = ? AND guild_id IN ({places})"
        ))
        .value(ledger.instance());
        for guild in &some {
            asking = asking.value(guild.as_str());
        }
        let mine = asking.query()??;
        let is_mine = |guild: &str| {
            mine.rows.iter().any(|row| row.first().and_then(|id| id.as_text()) == Some(guild))
        };
        for guild in some {
            if !is_mine(&guild) {
                self.drop(&guild);
            }
        }
        Ok(())
    }
}

impl Guild {
    fn content(&self) -> usize {
        let members = self.members.iter().map(|(id, member)| {
            id.len() + member.name.len() + member.roles.iter().map(|role| role.len()).sum::<usize>()
        });
        let channels = self.channels.iter().map(|(id, name)| id.len() + name.len());
        self.name.len() + members.chain(channels).sum::<usize>()
    }

    fn take_channels(&mut self, data: &Json) {
        for channel in data["channels"].as_array().into_iter().flatten() {
            if let Some(id) = crate::id(&channel["channel_id"]) {
                self.channels.insert(id.into(), text(&channel["name"]));
            }
        }
    }
}

impl Member {
    fn of(data: &Json) -> Self {
        let roles = data["roles"].as_array().into_iter().flatten();
        Self { name: text(&data["name"]), roles: roles.map(text).collect() }
    }
}
