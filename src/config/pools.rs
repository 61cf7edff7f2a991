//! The memory of open models: devices, what stays loaded, how long anything waits.

use std::{fmt, str::FromStr};

use billing::class::SizeClass;
use engine::device::Device as Kind;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The memory of open models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pools {
    /// The devices; none: the CPU, with three quarters of this machine's memory.
    pub device: Vec<Device>,
    /// Models that are loaded at the start.
    pub preload: Vec<String>,
    /// Models that are loaded at the start and stay.
    pub pin: Vec<String>,
    /// The longest that a request waits for memory.
    pub wait_seconds: u64,
    /// The longest that a request waits for a load that has begun.
    pub load_seconds: u64,
    /// The longest that a request waits in the queue of its model's engine.
    pub queue_seconds: u64,
    /// How long a model waits for memory before one that is busy must make room.
    pub turn_seconds: u64,
    /// How long an idle model stays; 0: until its memory is needed.
    pub idle_seconds: u64,
}

impl Default for Pools {
    fn default() -> Self {
        Self {
            device: Vec::new(),
            preload: Vec::new(),
            pin: Vec::new(),
            wait_seconds: 60,
            load_seconds: 600,
            queue_seconds: 300,
            turn_seconds: 15,
            idle_seconds: 0,
        }
    }
}

/// A device that models run on: a table of the file, or a text such as `cpu 8GiB` or `cpu 8GiB 7B 15B`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// What it is.
    #[serde(serialize_with = "as_text")]
    pub kind: Kind,
    /// Its memory for weights and caches.
    pub memory: Bytes,
    /// The size classes that it serves.
    pub classes: Vec<SizeClass>,
}

/// The same as a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    kind: String,
    memory: Bytes,
    #[serde(default)]
    classes: Vec<SizeClass>,
}

impl Device {
    fn of(kind: Kind, memory: Bytes, classes: Vec<SizeClass>) -> Self {
        let classes = if classes.is_empty() { SizeClass::ALL.to_vec() } else { classes };
        Self { kind, memory, classes }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn as_text<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind)
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (Some(kind), Some(memory)) = (words.next(), words.next()) else {
            return Err(format!("`{text}` is no device such as `cpu 8GiB` or `cpu 8GiB 7B 15B`"));
        };
        let class = |name| SizeClass::from_name(name).ok_or_else(|| format!("`{name}` is no size class"));
        Ok(Self::of(kind.parse()?, memory.parse()?, words.map(class).collect::<Result<_, _>>()?))
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Device;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a device: a table with `kind` and `memory`, or a text such as `cpu 8GiB`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Device, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<M: de::MapAccess<'de>>(self, map: M) -> Result<Device, M::Error> {
                let Table { kind, memory, classes } = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Device::of(kind.parse().map_err(de::Error::custom)?, memory, classes))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// A number of bytes: a number, or a text with a unit, such as `12 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no number of bytes such as 8589934592, `8GiB` or `512MiB`");
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = (text[..end].parse::<u64>().map_err(|_| wrong())?, text[end..].trim());
        let unit = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(wrong()),
        };
        number.checked_mul(unit).map(Self).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or a text such as `8GiB`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Bytes, E> {
                Ok(Bytes(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Bytes, E> {
                u64::try_from(number).map(Bytes).map_err(|_| E::custom("a number of bytes is not negative"))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_from_tables_and_from_texts() {
        #[derive(Deserialize)]
        struct File {
            device: Vec<Device>,
        }
        let read = |text: &str| toml::from_str::<File>(text).map(|file| file.device);
        let tables =
            "[[device]]\nkind = 'cpu'\nmemory = '3 GiB'\n[[device]]\nkind = 'cuda:1'\nmemory = 5\nclasses = ['7B']";
        let devices = read(tables).unwrap();
        assert_eq!(devices[0], Device::of(Kind::Cpu, Bytes(3 << 30), SizeClass::ALL.to_vec()));
        assert_eq!(devices[1], Device::of(Kind::Cuda(1), Bytes(5), vec![SizeClass::B7]));
        assert_eq!(read("device = ['cpu 3GiB', 'cuda:1 5 7B']").unwrap(), devices);
        for (text, wrong) in [
            ("device = ['cpu']", "no device such as"),
            ("device = ['tpu 1GiB']", "is no device"),
            ("device = ['cuda:x 1GiB']", "no number of a card"),
            ("device = ['cpu 1GB']", "no number of bytes"),
            ("device = ['cpu 99999999999TiB']", "no number of bytes"),
            ("device = ['cpu 1GiB 8B']", "no size class"),
            ("[[device]]\nkind = 'cpu'\nmemory = -1", "not negative"),
            ("[[device]]\nkind = 'cpu'", "memory"),
            ("[[device]]\nkind = 'cpu'\nmemory = 1\nmemry = 1", "memry"),
        ] {
            let told = read(text).unwrap_err().to_string();
            assert!(told.contains(wrong), "{text}: {told}");
        }
    }
}
