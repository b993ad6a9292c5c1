//! `events.>` and `eligibility.>`.

use ledger::{sql, storable};
use wavetank_sdk::{Json, Result, database::Statement, json};

use crate::{Answer, Event, Worker};

/// Members that one statement inserts.
const MEMBERS: usize = 200;

impl Worker {
    pub(crate) fn event(&mut self, event: &Event) -> Answer {
        let guild = event.guild.as_str();
        match event.kind.as_str() {
            "guild.join" => self.guild_joined(event)?,
            "guild.update" => {
                let update = sql("UPDATE guilds SET name = COALESCE(?, name) WHERE guild_id = ?")
                    .value(event.data["name"].as_str().filter(|name| storable(name)))
                    .value(guild);
                self.ledger.store("stored.guild_update", vec![update])??;
                self.guilds.update(guild, &event.data);
            }
            "guild.leave" => {
                let tables = ["guilds", "members", "eligibility", "alerts"];
                let delete = tables.map(|table| {
                    sql(&format!("DELETE FROM {table} WHERE guild_id = ?")).value(guild)
                });
                self.ledger.store("stored.guild_leave", delete.into())??;
                self.guilds.drop(guild);
            }
            "member.join" | "member.leave" | "member.update" | "message.create" => {
                let user = match event.user() {
                    Ok(user) => user,
                    Err(error) => return Ok(Err(error)),
                };
                self.of_member(event, user)?;
            }
            other => return Ok(Err(format!("`{other}` is no event"))),
        }
        Ok(Ok(json!({"success": true, "handled": true})))
    }

    fn of_member(&mut self, event: &Event, user: &str) -> Result {
        let guild = event.guild.as_str();
        let counted = format!("stored.{}", event.kind.replace('.', "_"));
        match event.kind.as_str() {
            "message.create" => {
                self.guilds.message(guild);
                self.ledger.note("handled.message_create")?;
            }
            "member.leave" => {
                let delete = sql("DELETE FROM members WHERE guild_id = ? AND user_id = ?")
                    .value(guild)
                    .value(user);
                self.ledger.store(&counted, vec![delete])??;
                self.guilds.member_left(guild, user);
            }
            // A join, or an update of one that may be unknown; points only if they are told.
            _ => {
                let insert = sql("INSERT INTO members (guild_id, user_id, points)
                                  VALUES (?, ?, COALESCE(?, 0))
                                  ON CONFLICT (guild_id, user_id) DO UPDATE SET
                                      points = COALESCE(?, members.points)");
                let points = event.data["points"].as_i64();
                let insert = insert.value(guild).value(user).value(points).value(points);
                self.ledger.store(&counted, vec![insert])??;
                self.guilds.member_joined(guild, user, &event.data);
            }
        }
        Ok(())
    }

    fn guild_joined(&mut self, event: &Event) -> Result {
        let data = &event.data;
        let name = data["name"].as_str().filter(|name| storable(name)).unwrap_or_default();
        let count = |field: &str| data[field].as_array().map_or(0, |list| list.len() as i64);
        let mut statements = vec![
            sql("INSERT INTO guilds (guild_id, name, members, channels, holder, joined)
                 VALUES (?, ?, ?, ?, ?, {now})
                 ON CONFLICT (guild_id) DO UPDATE SET
                     name = excluded.name, members = excluded.members,
                     channels = excluded.channels, holder = excluded.holder")
            .value(event.guild.as_str())
            .value(name)
            .value(count("members"))
            .value(count("channels"))
            .value(self.ledger.instance()),
        ];
        statements.extend(members(&event.guild, data));
        self.ledger.store("stored.guild_join", statements)??;
        self.guilds.hold(&event.guild, data);
        Ok(())
    }

    pub(crate) fn eligibility(&mut self, event: &Event) -> Answer {
        let user = match event.user() {
            Ok(user) => user,
            Err(error) => return Ok(Err(error)),
        };
        let Some(eligible) = event.data["eligible"].as_bool() else {
            return Ok(Err("`data.eligible` must be true or false".to_owned()));
        };
        let set = sql("INSERT INTO eligibility (guild_id, user_id, eligible, changed)
                       VALUES (?, ?, ?, {now})
                       ON CONFLICT (guild_id, user_id) DO UPDATE SET
                           eligible = excluded.eligible, changed = excluded.changed");
        let alert = sql("INSERT INTO alerts (guild_id, user_id, content, timestamp)
                         VALUES (?, ?, ?, {now})");
        let content = if eligible { "you are eligible" } else { "you are no longer eligible" };
        let guild = event.guild.as_str();
        let statements = vec![
            set.value(guild).value(user).value(i64::from(eligible)),
            alert.value(guild).value(user).value(content),
        ];
        self.ledger.store("stored.eligibility", statements)??;
        Ok(Ok(json!({"success": true, "handled": true})))
    }
}

/// Rows for the members that a join tells of, sorted: two joins lock them in the same order.
fn members(guild: &str, data: &Json) -> Vec<Statement> {
    let told = data["members"].as_array().into_iter().flatten();
    let mut ids: Vec<_> = told.filter_map(|member| crate::id(&member["user_id"])).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.chunks(MEMBERS)
        .map(|some| {
            let rows = vec!["(?, ?, 0)"; some.len()].join(", ");
            let insert = sql(&format!(
                "INSERT INTO members (guild_id, user_id, points) VALUES {rows}
                 ON CONFLICT (guild_id, user_id) DO NOTHING"
            ));
            some.iter().fold(insert, |insert, user| insert.value(guild).value(user.as_str()))
        })
        .collect()
}
