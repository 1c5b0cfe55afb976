//! Reads dates of HTTP headers, such as `Wed, 21 Oct 2015 07:28:00 GMT` (RFC 9110, section
//! 5.6.7).

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Returns the Unix seconds of a date in the preferred form. The two obsolete forms are not read.
pub(super) fn parse(text: &str) -> Option<i64> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = within(words.next()?, 1, 31)?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year = within(words.next()?, 1970, 9999)?;
    let mut clock = words.next()?.split(':');
    let hour = within(clock.next()?, 0, 23)?;
    let minute = within(clock.next()?, 0, 59)?;
    let second = within(clock.next()?, 0, 60)?;
    if words.next() != Some("GMT") || words.next().is_some() || clock.next().is_some() {
        return None;
    }
    // Days since 1970-01-01, counted in years that begin in March (Hinnant).
    let month = i64::try_from(month).ok()? + 1;
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, year_of_era) = (year / 400, year % 400);
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100
        + day_of_year
        - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn within(digits: &str, least: i64, most: i64) -> Option<i64> {
    digits
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_preferred_form() {
        let known = [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Wed, 21 Oct 2015 07:28:00 GMT", 1_445_412_480),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
        ];
        for (text, seconds) in known {
            assert_eq!(parse(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn nonsense_is_no_date() {
        for text in [
            "",
            "soon",
            "Wed, 41 Oct 2015 07:28:00 GMT",
            "Wed, 21 Oct 2015 07:28 GMT",
            ", , ,",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
