//! The correlation tracker and cache warmer of catalogue W, as a component.
//!
//! | subject | |
//! |---|---|
//! | `warming.price.update` | `{pair, price, time}`: an event, or a request that is answered when it is tracked |
//! | `warming.warm` | `{pair}`: brings it and its related pairs into L1 and L2 |
//! | `warming.get` | `{pair}` → `{success, found, from: "l1"\|"l2", value: {pair, price, time, updates}}` |
//! | `warming.stats` | hits, misses, evictions, sizes, bound, strategy, what was handled |
//!
//! **Serve it with `--concurrency 1`**: an instance is one tracker with one L1, and several would each
//! know a part (`wavetank serve` refuses to make a second one). Messages are then handled one after the
//! other, so that there are no races; the counts are those of the instance, and end with it. L2 is in the
//! database and outlives it.
//!
//! A bad event is ignored and counted, a bad request is told so.

mod second;
mod strategy;
mod tracker;

use wavetank_sdk::{Context, Description, Json, Result, Service, bus::Message, json, serde_json};

use lru::Cache;
use strategy::Strategy;
use tracker::{Quote, Tracker};

/// Instances that `wavetank serve` makes are numbered from 1; inside a run, far above.
const SERVED: std::ops::RangeInclusive<u32> = 2..=10_000;
/// Bytes of a pair's name.
const NAME_BYTES: usize = 64;

struct Warming {
    tracker: Tracker,
    cache: Cache<Quote>,
    strategy: Strategy,
    counts: Counts,
}

/// What was handled. Requests that were bad are in `bad`, too.
#[derive(Default)]
struct Counts {
    price: u64,
    warm: u64,
    get: u64,
    bad: u64,
    l1_hits: u64,
    l2_hits: u64,
    misses: u64,
    warmed: u64,
}

impl Service for Warming {
    fn describe() -> Description {
        Description::new("warming", env!("CARGO_PKG_VERSION"))
            .options(json!({
                "services": {
                    "warming.price.update": "price",
                    "warming.warm": "warm",
                    "warming.get": "get",
                    "warming.stats": "stats",
                },
            }))
            .parameter("profile", "balanced", "conservative, balanced or aggressive")
            .parameter("l1_size", 500, "how many pairs L1 holds; the one not used for longest goes")
            .parameter(
                "horizon",
                1_000.0,
                "moves further apart in `time` than this are not together",
            )
            .parameter("max_pairs", 20_000, "how many pairs are tracked; more are refused")
    }

    fn start(context: &Context) -> Result<Self> {
        if SERVED.contains(&context.vu) {
            return Err("one instance is one tracker: serve it with --concurrency 1".into());
        }
        second::open()?;
        let profile: String = context.parameter("profile")?;
        let bound: usize = context.parameter("l1_size")?;
        if bound == 0 {
            return Err("l1_size must be at least 1".into());
        }
        Ok(Self {
            tracker: Tracker::new(context.parameter("max_pairs")?, context.parameter("horizon")?),
            cache: Cache::new(bound),
            strategy: Strategy::of(&profile)?,
            counts: Counts::default(),
        })
    }

    fn handle(&mut self, handler: &str, message: &Message) -> Result<Option<Vec<u8>>> {
        let asked: Json = serde_json::from_slice(&message.payload).unwrap_or_default();
        if handler == "stats" {
            return Ok(Some(self.stats()?.to_string().into_bytes()));
        }
        let answer = match asked["pair"].as_str() {
            Some(pair) if is_name(pair) => match handler {
                "price" => self.price(pair, &asked),
                "warm" => self.warm(pair)?,
                _ => self.get(pair)?,
            },
            _ => Err(format!("`pair` must be a name of 1 to {NAME_BYTES} bytes")),
        };
        if answer.is_err() {
            self.counts.bad += 1;
        }
        if message.reply_to.is_none() {
            return Ok(None);
        }
        let answer = answer.unwrap_or_else(|error| json!({"success": false, "error": error}));
        Ok(Some(answer.to_string().into_bytes()))
    }
}

fn is_name(pair: &str) -> bool {
    !pair.is_empty() && pair.len() <= NAME_BYTES && ledger::storable(pair)
}

/// What is answered, or what was wrong with the question.
type Answer = Result<Json, String>;

impl Warming {
    fn price(&mut self, pair: &str, asked: &Json) -> Answer {
        let number = |field: &str| asked[field].as_f64();
        let price = number("price").filter(|price| *price > 0.0);
        let price = price.ok_or("`price` must be a number above zero")?;
        let time = number("time").ok_or("`time` must be a number")?;
        let quote = self.tracker.update(pair, price, time)?;
        self.cache.refresh(pair, quote);
        self.counts.price += 1;
        Ok(json!({"success": true}))
    }

    /// Brings a pair and those that move with it into both caches: from L2 what is there and fresh, from
    /// the tracker what is not.
    fn warm(&mut self, pair: &str) -> Result<Answer> {
        self.counts.warm += 1;
        let Some(related) = self.tracker.related(pair) else {
            return Ok(Ok(json!({"success": true, "known": false, "warmed": []})));
        };
        let chosen = self.strategy.choose(related, self.counts.rate());
        let own = self.tracker.quote(pair).map(|quote| (pair.to_owned(), quote));
        let quotes = chosen.iter().map(|(peer, _)| self.tracker.named(*peer));
        let wanted: Vec<(String, Quote)> = own.into_iter().chain(quotes).collect();
        let (cached, missing): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .partition(|(name, quote)| self.cache.touch(name).is_some_and(|held| held == *quote));
        let stale = match second::stale(&missing)? {
            Ok(stale) => stale,
            Err(failure) => return Ok(Err(failure.to_string())),
        };
        if let Err(failure) = second::store(&stale)? {
            return Ok(Err(failure.to_string()));
        }
        for (name, quote) in &missing {
            self.cache.put(name, *quote);
        }
        self.counts.warmed += missing.len() as u64;
        let warmed: Vec<_> = chosen
            .iter()
            .map(|(peer, score)| json!({"pair": self.tracker.named(*peer).0, "score": score}))
            .collect();
        Ok(Ok(json!({
            "success": true,
            "known": true,
            "warmed": warmed,
            "strategy": self.strategy.name(),
            "already_in_l1": cached.len(),
            "from_l2": missing.len() - stale.len(),
            "fetched": stale.len(),
        })))
    }

    fn get(&mut self, pair: &str) -> Result<Answer> {
        self.counts.get += 1;
        let (quote, from) = match self.cache.touch(pair) {
            Some(quote) => {
                self.counts.l1_hits += 1;
                (quote, "l1")
            }
            None => match second::get(pair)? {
                Err(failure) => return Ok(Err(failure.to_string())),
                Ok(None) => {
                    self.counts.misses += 1;
                    return Ok(Ok(json!({"success": true, "found": false})));
                }
                Ok(Some(quote)) => {
                    self.counts.l2_hits += 1;
                    self.cache.put(pair, quote);
                    (quote, "l2")
                }
            },
        };
        let Quote { price, time, updates } = quote;
        let value = json!({"pair": pair, "price": price, "time": time, "updates": updates});
        Ok(Ok(json!({"success": true, "found": true, "from": from, "value": value})))
    }

    fn stats(&self) -> Result<Json> {
        let counts = &self.counts;
        Ok(json!({
            "success": true,
            "profile": self.strategy.profile(),
            "strategy": self.strategy.name(),
            "parameters": self.strategy.parameters(),
            "selections": self.strategy.selections(),
            "hits": counts.l1_hits + counts.l2_hits,
            "l1_hits": counts.l1_hits,
            "l2_hits": counts.l2_hits,
            "misses": counts.misses,
            "hit_rate": counts.rate(),
            "evictions": self.cache.evictions(),
            "l1_size": self.cache.len(),
            "l1_bound": self.cache.bound(),
            "l2_size": second::size()??,
            "pairs": self.tracker.len(),
            "warmed": counts.warmed,
            "handled": {
                "price": counts.price, "warm": counts.warm, "get": counts.get, "bad": counts.bad,
            },
        }))
    }
}

impl Counts {
    /// The share of questions that L1 answered; none were asked: null.
    fn rate(&self) -> Option<f64> {
        let asked = self.l1_hits + self.l2_hits + self.misses;
        (asked > 0).then(|| self.l1_hits as f64 / asked as f64)
    }
}

wavetank_sdk::service!(Warming);
