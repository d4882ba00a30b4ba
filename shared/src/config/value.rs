//! The kinds of values a setting may have, each with the words that say what is allowed.
//! It does not know where a value came from; `map` calls it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::units::{Bytes, parse_duration, show_duration};

/// A type that can be read from one value of a settings file.
pub trait Value: Sized {
    /// What is allowed, to be read after "allowed:": "a time such as 200ms, 5s, 10m, 24h".
    const ALLOWED: &'static str;
    /// Whether a quoted value may be one; a quoted `"5"` is text and so no number.
    const QUOTED: bool = true;
    /// Whether a value must not be repeated in a message.
    const SECRET: bool = false;

    /// The value, or `None` where the text is not one.
    fn parse(text: &str) -> Option<Self>;

    /// The value as one would type it, for messages about ranges.
    fn show(&self) -> String {
        Self::ALLOWED.to_owned()
    }
}

impl Value for String {
    const ALLOWED: &'static str = "a text that is not empty";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for bool {
    const ALLOWED: &'static str = "true, false";
    const QUOTED: Self = false;

    fn parse(text: &str) -> Option<Self> {
        match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_numbers {
    ($($kind:ty: $allowed:literal),*) => {$(
        impl Value for $kind {
            const ALLOWED: &'static str = $allowed;
            const QUOTED: bool = false;

            fn parse(text: &str) -> Option<Self> {
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                digits.then(|| text.parse().ok()).flatten()
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole_numbers! {
    u16: "a whole number from 0 to 65535",
    u32: "a whole number from 0 to 4294967295",
    u64: "a whole number, 0 or more",
    usize: "a whole number, 0 or more"
}

impl Value for Duration {
    const ALLOWED: &'static str = "a time such as 200ms, 5s, 10m, 24h, 7d";

    fn parse(text: &str) -> Option<Self> {
        parse_duration(text)
    }

    fn show(&self) -> String {
        show_duration(*self)
    }
}

impl Value for Bytes {
    const ALLOWED: &'static str = "a size such as 512, 64 KiB, 25 MiB, 1 GiB";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for SocketAddr {
    const ALLOWED: &'static str = "an ADDRESS:PORT such as 10.0.0.11:25 or \"[2001:db8::1]:25\"";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for IpNet {
    const ALLOWED: &'static str = "an address or a network such as 10.0.0.5/32, 2001:db8::/64";

    /// Bits behind the prefix are refused: `10.0.0.5/8` is a slip more often than a network.
    fn parse(text: &str) -> Option<Self> {
        let alone = || text.parse::<std::net::IpAddr>().ok().map(Self::from);
        let net = text.parse::<Self>().ok().or_else(alone)?;
        (net.trunc() == net).then_some(net)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for PathBuf {
    const ALLOWED: &'static str = "a path";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains('\0')).then(|| Self::from(text))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}
