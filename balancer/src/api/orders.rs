//! What an operator says at run time, from a request to the picture: drain, weight, mode, reload.
//! It does not know what a command line looks like, or how a picture is made. `api` calls it.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use shared::admin::{Answer, Question};

use super::status::machines;
use super::{NODES_PATH, RELOAD_PATH, SERVICES_PATH, StatusDesk, json, refusal};
use crate::backends::{Duty, Order};
use crate::settings::{Mode, ServiceName};

/// The verbs for a node.
const NODE_VERBS: [&str; 4] = ["drain", "ready", "maintenance", "weight"];
/// More of who says something is not kept.
const BY_CHARS_MAX: usize = 64;

/// What a request is about.
enum Target<'p> {
    Node(&'p str, &'p str),
    Service(&'p str, &'p str),
    Reload,
}

fn target(path: &str) -> Option<Target<'_>> {
    if path == RELOAD_PATH {
        return Some(Target::Reload);
    }
    let below = |parent: &str| path.strip_prefix(parent)?.strip_prefix('/')?.split_once('/');
    let node = below(NODES_PATH).map(|(name, verb)| Target::Node(name, verb));
    node.or_else(|| below(SERVICES_PATH).map(|(name, verb)| Target::Service(name, verb)))
}

impl StatusDesk {
    /// The answer to an order; `None`: there is nothing at that path.
    pub(super) fn told(&self, question: Question<'_>) -> Option<Answer> {
        let target = target(question.path)?;
        if question.method != "POST" {
            return Some(refusal(405, "this is said with POST", &["POST"]));
        }
        if !question.is_meant {
            let allowed = ["Content-Type: application/json", "Authorization: Bearer TOKEN"];
            let error = "a page of another site could have sent this; needed: a header that it \
                         cannot send, and no Origin";
            return Some(refusal(415, error, &allowed));
        }
        Some(self.obey(&target, question).unwrap_or_else(|refused| refused))
    }

    fn obey(&self, target: &Target<'_>, question: Question<'_>) -> Result<Answer, Answer> {
        let words = Words::read(question)?;
        let order = match *target {
            Target::Reload => {
                words.only(&[])?;
                return self.read_again();
            }
            Target::Node(name, "weight") => {
                words.only(&["weight", "w"])?;
                Order::Weight(name.into(), words.weight()?)
            }
            Target::Node(name, verb) => {
                words.only(&[])?;
                let duties = [Duty::Ready, Duty::Drain, Duty::Maintenance];
                let duty = duties.into_iter().find(|duty| duty.name() == verb);
                let unknown = || refusal(404, "there is no such verb for a node", &NODE_VERBS);
                Order::Duty(name.into(), duty.ok_or_else(unknown)?)
            }
            Target::Service(name, "mode") => {
                words.only(&["mode"])?;
                Order::Mode(ServiceName(name.into()), words.mode()?)
            }
            Target::Service(..) => {
                return Err(refusal(404, "there is no such verb for a service", &["mode"]));
            }
        };
        self.say(order, words.by(question.peer).into())
    }

    fn read_again(&self) -> Result<Answer, Answer> {
        let Some(bell) = &self.reload else {
            return Err(refusal(503, "nobody watches the file", &[]));
        };
        bell.ring();
        let note = "the file is read now; `config` of /api/v1/status says what it comes to";
        Ok(json(202, &json!({"asked": true, "note": note})))
    }

    fn say(&self, order: Order, by: Arc<str>) -> Result<Answer, Answer> {
        let backends = &self.front.backends;
        backends.order(order.clone(), SystemTime::now(), by.clone()).map_err(|unknown| {
            let known: Vec<_> = unknown.known.iter().map(String::as_str).collect();
            refusal(404, &unknown.to_string(), &known)
        })?;
        match order {
            Order::Duty(node, duty) => {
                tracing::info!(node = &*node, duty = duty.name(), by = &*by, "an order");
                if duty == Duty::Maintenance
                    && let Some(farewell) = &self.farewell
                {
                    farewell.begin(node.clone());
                }
                let warnings = self.warnings(&node, duty);
                let machine = machines(backends, Some(&node)).into_iter().next();
                Ok(json(200, &json!({"node": machine, "warnings": warnings})))
            }
            Order::Weight(node, weight) => {
                tracing::info!(node = &*node, weight, by = &*by, "an order");
                let machine = machines(backends, Some(&node)).into_iter().next();
                Ok(json(200, &json!({"node": machine, "warnings": []})))
            }
            Order::Mode(service, mode) => {
                let mode = mode.map(Mode::name);
                tracing::info!(service = &*service.0, mode, by = &*by, "an order");
                let services = self.status().services;
                let service = services.into_iter().find(|one| one.name == *service.0);
                Ok(json(200, &json!({"service": service, "warnings": []})))
            }
        }
    }

    /// What an operator should know who has just taken this node out.
    fn warnings(&self, node: &str, duty: Duty) -> Vec<String> {
        let picture = self.front.backends.picture();
        let services = picture.services.iter().filter(|service| {
            let candidates = service.candidates();
            let is_of_it = candidates.iter().any(|one| &*one.backend.name == node);
            let ready = |name: &str| picture.orders.duty(name) == Duty::Ready;
            is_of_it && !candidates.iter().any(|one| one.up && ready(&one.backend.name))
        });
        let warnings = services.map(|service| {
            let used = service.candidates().iter().any(|one| one.open);
            let what = match (duty, used) {
                (Duty::Ready, _) => return None,
                (_, true) if service.candidates().iter().any(|one| one.open && one.up) => {
                    "drained nodes get its new sessions all the same"
                }
                (_, true) => "no node that is up is left for new sessions",
                (_, false) => "every node is in maintenance: its clients are refused",
            };
            let warning = format!("{}: nobody else is ready: {what}", service.settings.name);
            tracing::warn!(service = %service.settings.name, node, "{what}");
            Some(warning)
        });
        warnings.flatten().collect()
    }
}

/// The words of a request, from its query and its body.
struct Words(Map<String, Value>);

impl Words {
    fn read(question: Question<'_>) -> Result<Self, Answer> {
        let mut words = match question.body.trim() {
            "" => Map::new(),
            body => match serde_json::from_str(body) {
                Ok(Value::Object(words)) => words,
                Ok(_) => return Err(refusal(400, "the body is no JSON object", &["{...}"])),
                Err(error) => {
                    return Err(refusal(400, &format!("the body is no JSON: {error}"), &["{...}"]));
                }
            },
        };
        for pair in question.query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = value.parse::<u64>().map(Value::from);
            words.insert(key.to_owned(), number.unwrap_or_else(|_| value.into()));
        }
        Ok(Self(words))
    }

    /// No others than these, and who says it.
    fn only(&self, allowed: &[&str]) -> Result<(), Answer> {
        let unknown = self.0.keys().find(|key| *key != "by" && !allowed.contains(&key.as_str()));
        match unknown {
            None => Ok(()),
            Some(key) => {
                Err(refusal(400, &format!("unknown: `{key}`"), &[allowed, &["by"]].concat()))
            }
        }
    }

    /// 1 to 256, or nothing for the file's.
    fn weight(&self) -> Result<Option<u32>, Answer> {
        let refused = || refusal(400, "`weight` is missing or not allowed", &["1 to 256", "null"]);
        match self.0.get("weight").or_else(|| self.0.get("w")) {
            Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => {
                let weight = number.as_u64().and_then(|number| u32::try_from(number).ok());
                weight.filter(|weight| (1..=256).contains(weight)).map(Some).ok_or_else(refused)
            }
            _ => Err(refused()),
        }
    }

    /// A mode, or nothing for the file's.
    fn mode(&self) -> Result<Option<Mode>, Answer> {
        let modes = [Mode::LeastConnections, Mode::RoundRobin, Mode::Failover];
        let refused = || {
            let allowed: Vec<_> = modes.into_iter().map(Mode::name).chain(["null"]).collect();
            refusal(400, "`mode` is missing or not allowed", &allowed)
        };
        match self.0.get("mode") {
            Some(Value::Null) => Ok(None),
            Some(Value::String(word)) => {
                let mode = modes.into_iter().find(|mode| mode.name() == word);
                mode.map(Some).ok_or_else(refused)
            }
            _ => Err(refused()),
        }
    }

    /// Who says it, in his own words, and where from.
    fn by(&self, peer: &str) -> String {
        let said = self.0.get("by").and_then(Value::as_str).unwrap_or_default();
        let said = said.chars().filter(|letter| !letter.is_control()).take(BY_CHARS_MAX);
        let said: String = said.collect();
        if said.is_empty() { peer.to_owned() } else { format!("{said} ({peer})") }
    }
}
