//! Dates as partners write them: the calendar of ISO 8601, in UTC.

use std::fmt;
use std::time::Duration;

const DAY: u64 = 86_400;

/// A moment, in the parts that formats of dates are made of. UTC; no leap seconds.
///
/// It is shown as `2026-01-31T23:59:59.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Civil {
    /// 1970 or later.
    pub year: u64,
    /// From 1.
    pub month: u64,
    /// Of the month, from 1.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
    /// 0 to 999.
    pub millisecond: u64,
}

impl From<Duration> for Civil {
    /// What the calendar shows this long after the beginning of 1970.
    fn from(since: Duration) -> Self {
        let seconds = since.as_secs();
        // Years that begin in March end with the day that only some have; the era of 400 years begins in the year 0.
        let days = seconds / DAY + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            hour: seconds / 3_600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            millisecond: u64::from(since.subsec_millis()),
        }
    }
}

impl fmt::Display for Civil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second, millisecond } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
    }
}

/// Reads a time of RFC 3339, such as `2026-01-31T23:59:59.5+01:00`, as what has passed since 1970; `None` for anything
/// else, and for what lies before. What is finer than a millisecond is cut off.
pub fn parse(text: &str) -> Option<Duration> {
    let (date, time) = (text.get(..10)?, text.get(11..)?);
    if !matches!(text.as_bytes()[10], b'T' | b't' | b' ') {
        return None;
    }
    let [year, month, day] = numbers(date, '-')?;
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (clock, fraction) = time[..zone].split_once('.').unwrap_or((&time[..zone], "0"));
    let [hour, minute, second] = numbers(clock, ':')?;
    let valid = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=length(year, month)).contains(&day);
    // RFC 3339 knows leap seconds; they are counted as the next second.
    if !valid || hour > 23 || minute > 59 || second > 60 || !digits(fraction) {
        return None;
    }
    let millisecond: u64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    let seconds = days(year, month, day) * DAY + hour * 3_600 + minute * 60 + second;
    let millis = i128::from(seconds * 1_000 + millisecond) - i128::from(offset(&time[zone..])?) * 1_000;
    u64::try_from(millis).ok().map(Duration::from_millis)
}

/// Seconds by which a zone is ahead.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (hours, minutes) = zone[1..].split_once(':')?;
    let (hours, minutes): (i64, i64) = (number(hours, 2)?.try_into().ok()?, number(minutes, 2)?.try_into().ok()?);
    let ahead = (hours * 60 + minutes) * 60;
    (hours < 24 && minutes < 60).then_some(if zone.starts_with('-') { -ahead } else { ahead })
}

fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let mut parts = text.split(between);
    let first = parts.next()?;
    let numbers = [number(first, first.len())?, number(parts.next()?, 2)?, number(parts.next()?, 2)?];
    parts.next().is_none().then_some(numbers)
}

fn number(text: &str, length: usize) -> Option<u64> {
    (text.len() == length && digits(text)).then(|| text.parse().ok())?
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn length(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the beginning of 1970 to a valid date.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let year = year - u64::from(month <= 2);
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * from_march + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_five_centuries_is_shown_and_read_as_the_one_after_the_last() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for n in 0..182_000 {
            let since = Duration::from_millis(n * DAY * 1_000 + n);
            let civil = Civil::from(since);
            assert_eq!((civil.year, civil.month, civil.day), (year, month, day));
            assert_eq!(parse(&civil.to_string()), Some(since));
            day += 1;
            if day > length(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert!(year > 2460);
    }

    #[test]
    fn times_of_rfc_3339_are_read_and_others_are_not() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2015-08-30T12:36:00Z", Some(1_440_938_160_000)),
            ("2015-08-30t14:36:00.25+02:00", Some(1_440_938_160_250)),
            ("2015-08-30 07:06:00.1239999-05:30", Some(1_440_938_160_123)),
            ("2016-12-31T23:59:60Z", Some(1_483_228_800_000)),
            ("1969-12-31T23:59:59Z", None),
            ("1970-01-01T00:00:00+00:01", None),
            ("2015-02-29T00:00:00Z", None),
            ("2015-08-30T12:36:00", None),
            ("2015-08-30T12:36Z", None),
            ("2015-8-30T12:36:00ZZ", None),
            ("2015-08-30T12:36:00.Z", None),
            ("2015-08-30T12:36:00+25:00", None),
            ("2015-08-30T+1:36:00Z", None),
            ("2015-08-30T12:36:00Z ", None),
            ("2020-05-09 23:54:49.209808489 +0000 UTC m=+70366.298768264", None),
            ("ééééééééééé", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
