//! Whose concern a provider's refusal is. A refusal of this gateway's own key concerns the operator; a refusal of a
//! request, or of a caller's own key, concerns the caller. No reader sees a secret in it.

use std::sync::Arc;

use wire::{
    fields::Fields,
    inference::{Event, Failure, ProviderError, Raw, Unserved},
};

use super::secrets::hide;

/// Words in codes and types of an account without credit.
const SPENT: [&str; 7] = [
    "insufficient_quota",
    "insufficient_balance",
    "exceeded_current_quota",
    "credit_balance",
    "billing",
    "payment_required",
    "spend_limit",
];
/// Messages of the same without a code.
const SPENT_WORDS: [&str; 3] = ["credit balance is too low", "insufficient balance", "insufficient credits"];

/// How the refusals of a call are read, depending on its key.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) provider: Arc<str>,
    /// The operator's keys, which must not be shown.
    pub(super) our_keys: Arc<[Box<str>]>,
    /// The caller's own key, where it is sent. It must not be shown either.
    pub(super) own_key: Option<String>,
}

impl Reading {
    /// An event as clients may read it.
    pub(super) fn told(&self, event: Event) -> Event {
        match event {
            Event::Failed(failure) => Event::Failed(self.failure(failure)),
            Event::Unknown(Raw::Own(format, said)) => {
                Event::Unknown(self.shown(said).map_or(Raw::None, |said| Raw::Own(format, said)))
            }
            other => other,
        }
    }

    fn failure(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Provider(error) => self.refusal(*error),
            Failure::Transport(why) => Failure::Transport(self.hide(&why)),
            Failure::Unreached(why) => Failure::Unreached(self.hide(&why)),
            other => other,
        }
    }

    fn refusal(&self, error: ProviderError) -> Failure {
        let error = ProviderError {
            message: self.hide(&error.message),
            code: error.code.map(|code| self.hide(&code)),
            kind: error.kind.map(|kind| self.hide(&kind)),
            param: error.param.map(|param| self.hide(&param)),
            ..error
        };
        let unserved = match error.status {
            _ if self.own_key.is_some() => None,
            _ if is_spent(&error) => Some(Unserved::Quota),
            401 | 403 | 407 => Some(Unserved::Credentials),
            _ => None,
        };
        let Some(unserved) = unserved else { return Failure::Provider(Box::new(error)) };
        let (provider, status) = (&*self.provider, error.status);
        tracing::error!(provider, status, message = %error.message, "a provider does not serve this gateway");
        Failure::Unserved(unserved)
    }

    /// A provider's text without secrets; `None` where they can't be removed.
    fn shown(&self, said: Fields) -> Option<Fields> {
        let text = said.to_json();
        let shown = self.hide(&text);
        if shown == text { Some(said) } else { Fields::parse(shown.as_bytes()).ok() }
    }

    fn hide(&self, text: &str) -> String {
        let keys: Vec<&str> = self.our_keys.iter().map(|key| &**key).chain(self.own_key.as_deref()).collect();
        hide(text, &keys).into_owned()
    }
}

/// Whether a provider refuses because the account has no credit, or no quota that would refill by waiting.
pub fn is_spent(error: &ProviderError) -> bool {
    let names = [error.code.as_deref(), error.kind.as_deref()];
    let named = names
        .into_iter()
        .flatten()
        .map(str::to_ascii_lowercase)
        .any(|name| SPENT.iter().any(|spent| name.contains(spent)));
    let words = error.message.to_ascii_lowercase();
    error.status == 402 || named || SPENT_WORDS.iter().any(|spent| words.contains(spent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::format::openai::read_refusal;

    fn reading(is_own_key: bool) -> Reading {
        let own_key = is_own_key.then(|| "sk-own-key".to_owned());
        Reading { provider: "test".into(), our_keys: ["sk-operator-key".into()].into(), own_key }
    }

    fn told(is_own_key: bool, status: u16, body: &str) -> Failure {
        let failure = Failure::Provider(Box::new(read_refusal(status, body.as_bytes())));
        match reading(is_own_key).told(Event::Failed(failure)) {
            Event::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_said_to_the_operators_key_is_the_operators() {
        let spent = r#"{"error":{"message":"You exceeded your quota","code":"insufficient_quota"}}"#;
        let low = r#"{"error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#;
        for (status, body, unserved) in [
            (401, "sk-operator-key", Unserved::Credentials),
            (403, "{}", Unserved::Credentials),
            (407, "", Unserved::Credentials),
            (402, "{}", Unserved::Quota),
            (429, spent, Unserved::Quota),
            (403, spent, Unserved::Quota),
            (400, low, Unserved::Quota),
        ] {
            assert_eq!(told(false, status, body), Failure::Unserved(unserved), "{status} {body}");
            assert!(matches!(told(true, status, body), Failure::Provider(error) if error.status == status));
        }
        for status in [400, 404, 413, 422, 429, 500, 529] {
            let failure = told(false, status, r#"{"error":{"message":"org-1 says no to sk-operator-key","code":"x"}}"#);
            let Failure::Provider(error) = failure else { panic!("{failure:?}") };
            assert_eq!((error.status, &*error.message), (status, "[hidden] says no to [hidden]"));
        }
    }

    #[test]
    fn no_secret_is_passed_on_in_what_is_not_known() {
        let format = wire::inference::Format::OpenAiChat;
        let raw = |text: &str| Raw::Own(format, Fields::parse(text.as_bytes()).unwrap());
        let unknown = |text: &str| match reading(false).told(Event::Unknown(raw(text))) {
            Event::Unknown(said) => said.of(format).map(Fields::to_json),
            other => panic!("{other:?}"),
        };
        assert_eq!(unknown(r#"{"org":"org-x","n": 1}"#).as_deref(), Some(r#"{"org":"[hidden]","n": 1}"#));
        assert_eq!(unknown(r#"{"new":"thing"}"#).as_deref(), Some(r#"{"new":"thing"}"#));
    }
}
