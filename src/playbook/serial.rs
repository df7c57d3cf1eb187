//! In which order and in which batches a play works on its hosts: Ansible's arithmetic.

use schemars::JsonSchema;

use crate::clock::{Entropy, EntropyError};
use crate::text::yaml::Node;
use crate::text::{FileError, SourceFile, suggest};

/// `serial`: how many hosts a batch has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serial(Vec<Size>);

/// The size of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// So many hosts; none or fewer is all that are left.
    Hosts(i64),
    /// So much of all hosts of the play, at least one.
    Percent(i64),
}

impl Size {
    /// How many hosts that is, out of all hosts of a play.
    ///
    /// Rounded down as Python rounds (`int(percent / 100.0 * all)`, ansible-core's `pct_to_int`), also where the floating
    /// point falls short: 29 % of 100 hosts are 28.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "the arithmetic of Ansible, which is that of floating point"
    )]
    fn of(self, all: usize) -> i64 {
        match self {
            Self::Hosts(hosts) => hosts,
            Self::Percent(percent) => {
                let part = (percent as f64 / 100.0 * all as f64) as i64;
                if part == 0 { 1 } else { part }
            }
        }
    }
}

impl Serial {
    /// Reads `serial`: a number, a percentage, or a list of them.
    ///
    /// # Errors
    /// What is neither, at its position.
    pub fn read(source: &SourceFile, node: &Node) -> Result<Self, FileError> {
        let Some(list) = node.as_sequence() else {
            return Ok(Self(vec![size(source, node)?]));
        };
        if list.is_empty() {
            return Err(source
                .error(node.position, "`serial` is an empty list")
                .hinted("leave it out for a single batch"));
        }
        let sizes = list.iter().map(|n| size(source, n));
        Ok(Self(sizes.collect::<Result<_, _>>()?))
    }

    /// Cuts all hosts of a play into batches. The last size repeats; a size below one takes all that are left. Without
    /// `serial` there is one batch.
    pub fn batches<T>(&self, mut hosts: Vec<T>) -> Vec<Vec<T>> {
        let all = hosts.len();
        let (mut batches, mut sizes) = (Vec::new(), self.0.iter().copied());
        let mut size = Size::Hosts(0);
        while !hosts.is_empty() {
            size = sizes.next().unwrap_or(size);
            let take = usize::try_from(size.of(all)).unwrap_or(0);
            if take == 0 || take >= hosts.len() {
                batches.push(hosts);
                break;
            }
            let rest = hosts.split_off(take);
            batches.push(std::mem::replace(&mut hosts, rest));
        }
        batches
    }
}

fn size(source: &SourceFile, node: &Node) -> Result<Size, FileError> {
    let wrong = || {
        source
            .error(
                node.position,
                "`serial` is a number of hosts, a percentage such as `25%`, or a list of them",
            )
            .hinted("for example `serial: [1, 25%, 100%]`: one host, then a quarter of all, then the rest")
    };
    let text = node.as_text().ok_or_else(wrong)?;
    match text.strip_suffix('%') {
        Some(percent) => match percent.trim().parse() {
            Ok(percent) if percent >= 0 => Ok(Size::Percent(percent)),
            _ => Err(wrong()),
        },
        None => text.trim().parse().map(Size::Hosts).map_err(|_| wrong()),
    }
}

/// `order`: in which order hosts are worked on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum Order {
    /// As the inventory has them.
    #[default]
    Inventory,
    /// The other way round.
    ReverseInventory,
    /// By name.
    Sorted,
    /// By name, the other way round.
    ReverseSorted,
    /// Another order each time.
    Shuffle,
}

impl Order {
    const ALL: [(&'static str, Self); 5] = [
        ("inventory", Self::Inventory),
        ("reverse_inventory", Self::ReverseInventory),
        ("sorted", Self::Sorted),
        ("reverse_sorted", Self::ReverseSorted),
        ("shuffle", Self::Shuffle),
    ];

    /// Reads `order`.
    ///
    /// # Errors
    /// Another word, at its position.
    pub fn read(source: &SourceFile, node: &Node) -> Result<Self, FileError> {
        let words = || Self::ALL.iter().map(|(word, _)| *word);
        let found = node.as_text().unwrap_or_default();
        let order = Self::ALL.iter().find(|(word, _)| *word == found);
        order.map(|(_, order)| *order).ok_or_else(|| {
            let known = words().collect::<Vec<_>>().join(", ");
            source
                .error(node.position, format!("`order` is one of {known}"))
                .hinted_if(suggest::hint(found, words()))
        })
    }

    /// Brings hosts, given as the inventory has them, into this order.
    ///
    /// # Errors
    /// When the source of randomness fails.
    pub fn arrange<T: Ord>(
        self,
        hosts: &mut [T],
        entropy: &dyn Entropy,
    ) -> Result<(), EntropyError> {
        match self {
            Self::Inventory => {}
            Self::ReverseInventory => hosts.reverse(),
            Self::Sorted => hosts.sort(),
            Self::ReverseSorted => hosts.sort_by(|a, b| b.cmp(a)),
            Self::Shuffle => shuffle(hosts, entropy)?,
        }
        Ok(())
    }
}

/// Fisher and Yates's shuffle.
fn shuffle<T>(items: &mut [T], entropy: &dyn Entropy) -> Result<(), EntropyError> {
    for last in (1..items.len()).rev() {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes)?;
        // What the remainder favours is a few parts in 2^60.
        let other = u64::from_le_bytes(bytes) % (last as u64 + 1);
        if let Ok(other) = usize::try_from(other) {
            items.swap(last, other);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;
    use crate::text::yaml;

    fn read(text: &str) -> Result<Serial, FileError> {
        let source = SourceFile::new("p.yml", text);
        Serial::read(&source, &yaml::parse(&source).unwrap())
    }

    fn sizes(serial: &Serial, hosts: usize) -> Vec<usize> {
        let batches = serial.batches((0..hosts).collect());
        let in_order: Vec<usize> = batches.concat();
        assert!(in_order.iter().copied().eq(0..hosts));
        batches.iter().map(Vec::len).collect()
    }

    #[test]
    fn batches_are_those_of_ansible() {
        for (serial, hosts, expected) in [
            ("2", 10, vec![2; 5]),
            ("20%", 10, vec![2; 5]),
            ("[1, 2, 3]", 10, vec![1, 2, 3, 3, 1]),
            ("[1, 20%, -1]", 10, vec![1, 2, 7]),
            ("20%", 3, vec![1; 3]),
            ("[1, 5, 10]", 20, vec![1, 5, 10, 4]),
            ("[10%, 20%, 100%]", 20, vec![2, 4, 14]),
            ("[1, 5, 20%]", 20, vec![1, 5, 4, 4, 4, 2]),
            ("1%", 20, vec![1; 20]),
            ("33%", 10, vec![3, 3, 3, 1]),
            ("0", 5, vec![5]),
            ("0%", 5, vec![1; 5]),
            ("29%", 100, vec![28, 28, 28, 16]),
            ("[1, 25%, 100%]", 12, vec![1, 3, 8]),
            ("'3'", 7, vec![3, 3, 1]),
            ("5", 0, vec![]),
        ] {
            assert_eq!(
                sizes(&read(serial).unwrap(), hosts),
                expected,
                "{serial} of {hosts}"
            );
        }
        assert_eq!(sizes(&Serial::default(), 7), [7]);
    }

    #[test]
    fn what_is_no_size_is_named() {
        for text in [
            "some",
            "[]",
            "[1, half]",
            "-5%",
            "{a: 1}",
            "2.5",
            "[[1]]",
            "''",
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains("serial"), "{text}: {error}");
        }
    }

    #[test]
    fn orders_are_those_of_ansible() {
        let arranged = |order: &str| {
            let source = SourceFile::new("p.yml", order);
            let order = Order::read(&source, &yaml::parse(&source).unwrap()).unwrap();
            let mut hosts = vec!["b", "c", "a"];
            order.arrange(&mut hosts, &SystemEntropy).unwrap();
            hosts
        };
        assert_eq!(arranged("inventory"), ["b", "c", "a"]);
        assert_eq!(arranged("reverse_inventory"), ["a", "c", "b"]);
        assert_eq!(arranged("sorted"), ["a", "b", "c"]);
        assert_eq!(arranged("reverse_sorted"), ["c", "b", "a"]);
        let mut shuffled = arranged("shuffle");
        shuffled.sort_unstable();
        assert_eq!(shuffled, ["a", "b", "c"]);
        let source = SourceFile::new("p.yml", "sortd");
        let error = Order::read(&source, &yaml::parse(&source).unwrap()).unwrap_err();
        assert_eq!(error.hints, ["did you mean `sorted`?"]);
    }

    #[test]
    fn every_order_comes_of_a_shuffle() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let mut hosts = [1, 2, 3];
            Order::Shuffle.arrange(&mut hosts, &SystemEntropy).unwrap();
            seen.insert(hosts);
        }
        assert_eq!(seen.len(), 6);
    }
}
