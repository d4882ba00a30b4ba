//! Sizes and times as people write them: `25 MiB`, `200ms`.
//! It does not know what they are for; settings files are read with it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The longest time a setting may have: ten years. Added to a clock it never overflows.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A number of bytes. Read from and shown as `512`, `64 KiB`, `25 MiB`, `1 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The number as a length in memory; what does not fit is the longest there is.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const SIZES: [(&str, u64); 4] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, size): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*size);
        match SIZES.iter().find(exact) {
            Some((unit, size)) => write!(f, "{} {unit}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a size such as 512, 64 KiB, 25 MiB, 1 GiB")]
pub struct NotASize;

impl FromStr for Bytes {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let (number, unit) = number_and_unit(text).ok_or(NotASize)?;
        let unit = unit.trim_start_matches(' ');
        let known = SIZES.iter().find(|(name, _)| *name == unit);
        let size = match unit {
            "" | "B" => 1,
            _ => known.ok_or(NotASize)?.1,
        };
        number.checked_mul(size).map(Self).ok_or(NotASize)
    }
}

const TIMES: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A time such as `200ms`, `5s`, `10m`, `24h`, `7d`: one number and its unit, at most ten years.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let (_, factor) = TIMES.iter().find(|(name, _)| *name == unit)?;
    let time = Duration::from_millis(number.checked_mul(*factor)?);
    (time <= DURATION_MAX).then_some(time)
}

/// The time as [`parse_duration`] reads it, in the largest unit that is exact; parts of a
/// millisecond are left out.
#[must_use]
pub fn show_duration(time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let exact = |(_, factor): &&(&str, u64)| millis != 0 && millis.is_multiple_of(*factor);
    match TIMES.iter().find(exact) {
        Some((unit, factor)) => format!("{}{unit}", millis / factor),
        None => format!("{millis}ms"),
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_as_written() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512 B", 512),
            ("64 KiB", 65_536),
            ("25MiB", 26_214_400),
            ("1 GiB", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        let too_much = format!("{} TiB", u64::MAX);
        for text in ["", "MiB", "-1", "1.5 MiB", "1 MB", "1 mib", " 1", "1 KiB ", "+1", &too_much] {
            assert_eq!(text.parse::<Bytes>(), Err(NotASize), "{text}");
        }
    }

    #[test]
    fn times_are_read_as_written() {
        for (text, millis) in
            [("200ms", 200), ("5s", 5000), ("10m", 600_000), ("24h", 86_400_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "5 s", "1.5s", "-1s", "4000d", "99999999999999999999s", "5S"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(number: u64, millis in 0..315_000_000_000_u64) {
            prop_assert_eq!(Bytes(number).to_string().parse(), Ok(Bytes(number)));
            let time = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(time)), Some(time));
        }

        #[test]
        fn nothing_makes_it_panic(text: String) {
            let _ = text.parse::<Bytes>();
            let _ = parse_duration(&text);
        }
    }
}
