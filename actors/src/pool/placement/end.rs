//! Why a request does not run, in the words that its client reads.

use wire::inference::Failure;

use super::End;

/// Bytes, for people.
pub fn gib(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    // Rounded up: what is needed is never told as less.
    if bytes >= 1 << 30 {
        let tenths = bytes.div_ceil((1 << 30) / 10);
        format!("{}.{} GiB", tenths / 10, tenths % 10)
    } else {
        format!("{} MiB", bytes.div_ceil(MIB))
    }
}

impl End {
    /// The failure of a request to a model of this name; `None` where its client has left.
    pub fn failure(&self, model: &str) -> Option<Failure> {
        Some(match self {
            Self::NeverFits { most: 0, .. } => {
                Failure::Unavailable(format!("{model} can't run here: no device serves its size class"))
            }
            Self::NeverFits { needs, most } => Failure::Unavailable(format!(
                "{model} can't run here: it needs {} of memory, and the largest device of its class has {}",
                gib(*needs),
                gib(*most)
            )),
            Self::Drained => Failure::Unavailable(format!("{model} is out of service here for now")),
            Self::LeftAlone(wait) => {
                let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
                Failure::LeftAlone { whom: model.to_owned(), seconds }
            }
            Self::Full => Failure::Overloaded("too many requests wait for models of this size".to_owned()),
            Self::NoRoom => Failure::Overloaded(format!("no memory came free for {model} in time")),
            Self::LoadingLong => Failure::Overloaded(format!("{model} is still loading")),
            Self::Failed(failure) => failure.clone(),
            Self::ImportedAnew => Failure::Engine("its model was imported anew".to_owned()),
            Self::Left => return None,
        })
    }

    /// The same in words.
    pub fn told(&self, model: &str) -> Option<String> {
        self.failure(model).map(|failure| match failure {
            Failure::Unavailable(why) | Failure::Overloaded(why) => why,
            other => other.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_never_fits_is_told_with_both_numbers_and_a_wait_in_whole_seconds() {
        let end = End::NeverFits { needs: (5 << 30) + 1, most: 900 << 20 };
        let told = end.told("m").unwrap();
        assert!(told.contains("5.1 GiB") && told.contains("900 MiB"), "{told}");
        assert!(End::NeverFits { needs: 1, most: 0 }.told("m").unwrap().contains("no device"));
        let wait = End::LeftAlone(Duration::from_millis(1_001)).failure("m");
        assert!(matches!(wait, Some(Failure::LeftAlone { seconds: 2, .. })), "{wait:?}");
        assert_eq!(End::Left.failure("m"), None);
    }
}
