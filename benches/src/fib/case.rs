//! What is measured, by name.

use std::str::FromStr;

use super::stream::Stream;

/// Something that is measured of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Look-ups of a stream of destinations.
    Stream(Stream),
    /// Bytes of a full table.
    Memory,
    /// Time to fill a table.
    Build,
    /// Changes a second, and how long one takes.
    Updates,
    /// What changes cost a reader.
    Readers,
    /// What it costs a reader to say that it holds nothing.
    Reclamation,
}

impl Case {
    /// All of them, with what they count.
    pub const ALL: [(Case, &'static str); 10] = [
        (Case::Stream(Stream::Uniform), "destinations uniform over the announced addresses"),
        (Case::Stream(Stream::Prefix), "a random prefix, then a random address inside it"),
        (Case::Stream(Stream::Zipf), "200,000 destinations drawn like prefix, the k-th 1/k as often as the first"),
        (Case::Stream(Stream::Sequential), "runs of 16,384 consecutive announced addresses, drawn like prefix"),
        (Case::Stream(Stream::Random), "random addresses of all IPv4, or of 2000::/3"),
        (Case::Memory, "memory of the full table"),
        (Case::Build, "seconds of processor time to fill a table, prefix by prefix and as one batch"),
        (Case::Updates, "updates a second and how long one takes, without and with a reader"),
        (Case::Readers, "what a reader loses while a writer changes the table"),
        (Case::Reclamation, "what it costs a reader to say that it holds nothing, by burst"),
    ];

    /// Its name on the command line and in the figures.
    pub fn name(self) -> &'static str {
        match self {
            Case::Stream(stream) => stream.name(),
            Case::Memory => "memory",
            Case::Build => "build",
            Case::Updates => "updates",
            Case::Readers => "readers",
            Case::Reclamation => "reclamation",
        }
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Case, String> {
        Case::ALL.iter().map(|(case, _)| *case).find(|case| case.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Case::ALL.iter().map(|(case, _)| case.name()).collect();
            format!("there is no such case; there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_found_by_its_name_and_an_unknown_one_refused_with_the_names_there_are() {
        assert_eq!("zipf".parse(), Ok(Case::Stream(Stream::Zipf)));
        assert_eq!("readers".parse(), Ok(Case::Readers));
        let error = "zip".parse::<Case>().expect_err("there is none");
        assert!(error.contains("prefix, zipf, sequential"), "{error}");
    }
}
