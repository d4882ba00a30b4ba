//! Dates as mail writes them, always in UTC.
//! It does not know what time it is; the caller says.

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]; // 1970-01-01: Thursday
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_S: i64 = 86_400;

/// RFC 5322 §3.3 `date-time`: `Tue, 24 Nov 2026 11:18:51 +0000`.
/// `seconds` since 1970, not negative.
pub fn rfc5322(seconds: i64) -> String {
    let (year, month, day) = civil(seconds / DAY_S);
    let weekday = DAYS[usize::try_from((seconds / DAY_S) % 7).unwrap_or(0)];
    let name = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    let (hour, minute, second) = clock(seconds);
    format!("{weekday}, {day} {name} {year} {hour:02}:{minute:02}:{second:02} +0000")
}

/// RFC 3339 with microseconds: `2026-11-24T11:18:51.000123Z`. `micros` since 1970, not negative.
pub fn rfc3339(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    let (hour, minute, second) = clock(seconds);
    let fraction = micros % 1_000_000;
    format!("{}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z", day(seconds))
}

/// `2026-11-24`. `seconds` since 1970, not negative.
pub fn day(seconds: i64) -> String {
    let (year, month, day) = civil(seconds / DAY_S);
    format!("{year:04}-{month:02}-{day:02}")
}

fn clock(seconds: i64) -> (i64, i64, i64) {
    let of_day = seconds % DAY_S;
    (of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// Days since 1970-01-01 to (year, month, day). Years begin in March: a leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // from 0000-03-01
    let era = days / 146_097; // 400 years
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        assert_eq!(rfc5322(0), "Thu, 1 Jan 1970 00:00:00 +0000");
        assert_eq!(rfc5322(951_782_400), "Tue, 29 Feb 2000 00:00:00 +0000");
        assert_eq!(rfc5322(1_795_519_131), "Tue, 24 Nov 2026 11:18:51 +0000");
        assert_eq!(rfc3339(1_795_519_131_000_123), "2026-11-24T11:18:51.000123Z");
        assert_eq!(day(4_107_542_399), "2100-02-28");
        assert_eq!(day(4_107_542_400), "2100-03-01");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 1..60_000 {
            let next = civil(days);
            let follows = next == (year, month, day + 1)
                || next == (year, month + 1, 1)
                || next == (year + 1, 1, 1);
            assert!(follows, "{next:?} after {:?}", (year, month, day));
            (year, month, day) = next;
        }
    }
}
