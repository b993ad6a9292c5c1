//! What is decided without the database: rules for intents, and a weighted score.

use wavetank_sdk::{Json, json};

/// Words that no text may have, with the rule that says so.
const WORDS: [(&str, &str); 6] = [
    ("exfiltrate", "no_exfiltration"),
    ("rm -rf", "no_destruction"),
    ("drop table", "no_destruction"),
    ("disable safety", "no_disarming"),
    ("ignore previous", "no_injection"),
    ("credential", "no_secrets"),
];
/// Intents that are never allowed, and those that are allowed up to a risk.
const INTENTS: [(&str, f64); 6] = [
    ("self_modify", -1.0),
    ("delete", 0.2),
    ("write", 0.5),
    ("execute", 0.4),
    ("send", 0.6),
    ("read", 0.9),
];
/// Up to which risk an intent that no rule names is allowed.
const OTHERWISE: f64 = 0.5;

/// Signals and their weights; any other counts half a care.
const WEIGHTS: [(&str, f64); 5] =
    [("care", 1.0), ("honesty", 1.0), ("growth", 0.6), ("consent", 0.8), ("harm", -2.0)];

pub(crate) fn intent(asked: &Json) -> Result<Json, String> {
    let intent = asked["intent"].as_str().filter(|intent| !intent.is_empty());
    let intent = intent.ok_or("`intent` must be text and not empty")?;
    let risk = share(asked, "risk")?.unwrap_or(0.0);
    let text = match &asked["text"] {
        Json::Null => "",
        Json::String(text) => text,
        _ => return Err("`text` must be text".to_owned()),
    };
    let text = text.to_ascii_lowercase();
    if let Some((_, rule)) = WORDS.iter().find(|(word, _)| text.contains(word)) {
        return Ok(json!({"allowed": false, "rule": rule, "risk": 1.0}));
    }
    let known = INTENTS.iter().find(|(known, _)| *known == intent);
    let most = known.map_or(OTHERWISE, |(_, most)| *most);
    let rule = if known.is_some() { "risk_of_intent" } else { "risk_otherwise" };
    Ok(json!({"allowed": risk <= most, "rule": rule, "risk": risk}))
}

pub(crate) fn love(asked: &Json) -> Result<Json, String> {
    let Some(signals) = asked["signals"].as_object().filter(|signals| !signals.is_empty()) else {
        return Err("`signals` must be an object of numbers from 0 to 1, and not empty".to_owned());
    };
    let (mut sum, mut weights) = (0.0, 0.0);
    for name in signals.keys() {
        let Some(value) = share(&asked["signals"], name)? else { continue };
        let weight =
            WEIGHTS.iter().find(|(known, _)| known == name).map_or(0.5, |(_, weight)| *weight);
        sum += weight * value;
        weights += weight.abs();
    }
    let score = if weights > 0.0 { (sum / weights).clamp(-1.0, 1.0) } else { 0.0 };
    let verdict = match score {
        score if score >= 0.5 => "loving",
        score if score >= 0.0 => "neutral",
        _ => "harmful",
    };
    Ok(json!({"score": score, "verdict": verdict}))
}

/// A number from 0 to 1.
pub(crate) fn share(asked: &Json, field: &str) -> Result<Option<f64>, String> {
    match &asked[field] {
        Json::Null => Ok(None),
        value => match value.as_f64().filter(|share| (0.0..=1.0).contains(share)) {
            Some(share) => Ok(Some(share)),
            None => Err(format!("`{field}` must be a number from 0 to 1")),
        },
    }
}
