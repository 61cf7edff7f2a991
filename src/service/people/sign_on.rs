//! Signing in by an issuer elsewhere (OpenID Connect). Somebody is known by the issuer's own name for them, never by an address:
//! those change hands. An identity becomes a person's only where that person wants it: signed in, by a letter to the person's
//! address, or as a new person.

use std::{collections::BTreeMap, time::Duration};

use billing::{Timestamp, ids::PersonId};
use ledger::people::{
    identities::{StoredIdentity, Unlinked},
    links::Purpose,
};
pub use oidc::{Begun, Identity, Returned};
use oidc::{Fault, Issuer};
use uuid::Uuid;

use super::{
    super::{Service, ServiceError},
    LONGEST_NAME, Person, SignUp, find_link, joining,
    letters::NOTICE_MS,
    mail, new_token, sessions, token_hash,
};
use crate::email;

/// How long a letter that links an identity is good.
pub const CONFIRM_MS: i64 = 30 * 60 * 1_000;

/// How long an issuer is waited for by somebody who signs out.
const END_WITHIN: Duration = Duration::from_secs(2);

/// An issuer, and what it may say here.
pub struct Trusted {
    /// What it is called on buttons.
    pub label: String,
    /// The domains of addresses that it may speak for; with none, all.
    pub domains: Vec<String>,
    /// Whether somebody who is not known here comes in by its word.
    pub sign_up: bool,
    /// The issuer.
    pub issuer: Issuer,
}

/// The issuers by whose word people sign in, by the names that the operator gave them.
pub type Issuers = BTreeMap<String, Trusted>;

/// Why somebody signs in by an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant {
    /// To come in.
    SignIn,
    /// To have another way in, as this person who has signed in already.
    Link(PersonId),
    /// To come in for the first time, by the token of a link that was mailed.
    Join(String),
}

/// What comes of it.
#[derive(Clone)]
pub enum Outcome {
    /// A session has begun.
    In(sessions::Begun),
    /// The identity is linked once this person says so, who has signed in.
    Confirm(PersonId),
    /// The identity is linked once a letter to this address is opened, which is to be sent.
    Mail(String),
}

fn named<'a>(service: &'a Service, name: &str) -> Result<&'a Trusted, ServiceError> {
    service.people.issuers.get(name).ok_or(ServiceError::NotFound("an issuer of this name"))
}

fn back(service: &Service, name: &str) -> String {
    service.people.page(&format!("oidc/{name}/callback"))
}

/// The words for what an issuer did not do. The reason is in the log, once, and has no token in it.
fn failed(name: &str, label: &str, fault: &Fault) -> ServiceError {
    tracing::warn!(issuer = name, %fault, "somebody could not sign in by an issuer");
    match fault {
        Fault::Unreachable(_) => ServiceError::NotReady(format!(
            "{label} can't be asked just now: try again in a moment, or sign in otherwise."
        )),
        Fault::Unreadable(_) => ServiceError::Elsewhere(format!(
            "{label} answered what can't be read here, so nobody was signed in. It does not pass by itself: tell whoever runs \
             this, or sign in otherwise."
        )),
        Fault::Refused(_) => {
            ServiceError::conflict(format!("{label} does not take this sign-in any more: begin again."))
        }
        Fault::Untrusted(_) => ServiceError::conflict(format!(
            "What {label} said could not be believed, so nobody was signed in. Begin again; if that does not help, tell whoever \
             runs this."
        )),
    }
}

/// The words for an issuer that has sent somebody back with an error instead of a code (RFC 6749, section 4.1.2.1).
///
/// # Errors
///
/// There is no such issuer ([`NotFound`](ServiceError::NotFound)).
pub fn refused(service: &Service, name: &str, code: &str) -> Result<ServiceError, ServiceError> {
    let label = &named(service, name)?.label;
    if code == "access_denied" {
        return Ok(ServiceError::conflict(format!(
            "{label} was not allowed to say who you are, so nobody was signed in."
        )));
    }
    let code: String = code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect();
    tracing::warn!(issuer = name, code, "an issuer sent somebody back with an error");
    Ok(ServiceError::conflict(format!(
        "{label} did not sign you in. Begin again; if that does not help, tell whoever runs this."
    )))
}

/// Begins a sign-in by an issuer.
///
/// # Errors
///
/// There is no such issuer ([`NotFound`](ServiceError::NotFound)), or it can't be asked ([`NotReady`](ServiceError::NotReady)).
pub async fn begin(service: &Service, name: &str) -> Result<Begun, ServiceError> {
    let trusted = named(service, name)?;
    trusted.issuer.begin(&back(service, name)).await.map_err(|fault| failed(name, &trusted.label, &fault))
}

/// Asks an issuer who has come back from it.
///
/// # Errors
///
/// There is no such issuer ([`NotFound`](ServiceError::NotFound)), it can't be asked ([`NotReady`](ServiceError::NotReady)) or
/// read ([`Elsewhere`](ServiceError::Elsewhere)), it does not say, is not believed, or may not speak for the address ([`Conflict`](ServiceError::Conflict)).
pub async fn finish(service: &Service, name: &str, returned: &Returned<'_>) -> Result<Identity, ServiceError> {
    let trusted = named(service, name)?;
    let said = trusted.issuer.finish(&back(service, name), returned).await;
    let identity = said.map_err(|fault| failed(name, &trusted.label, &fault))?;
    if !trusted.domains.is_empty() && !is_of(&identity, &trusted.domains) {
        let message = format!("{} may speak here for some addresses alone, and yours is none of them.", trusted.label);
        return Err(ServiceError::conflict(message));
    }
    Ok(identity)
}

/// Whether the issuer says that an address of these domains was proved.
fn is_of(identity: &Identity, domains: &[String]) -> bool {
    let host = proved(identity).and_then(|email| email.split_once('@').map(|(_, host)| host.to_owned()));
    host.is_some_and(|host| domains.contains(&host))
}

/// The address, in its canonical spelling, that the issuer says was proved.
fn proved(identity: &Identity) -> Option<String> {
    let email = identity.email.as_deref().filter(|_| identity.is_verified)?;
    email::canonical(email).ok()
}

/// Has somebody in whom an issuer has named.
///
/// # Errors
///
/// The identity is nobody's and makes nobody, or is another person's than it should be ([`Conflict`](ServiceError::Conflict)), a
/// link is not good ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written.
pub async fn come_in(
    service: &Service,
    (name, identity): (&str, &Identity),
    meant: &Meant,
    device: &str,
) -> Result<Outcome, ServiceError> {
    let trusted = named(service, name)?;
    let linked = service.ledger().identity(trusted.issuer.address(), &identity.subject).await?;
    let person = match (meant, linked) {
        (Meant::Link(person), None) => return Ok(Outcome::Confirm(*person)),
        (Meant::Link(person), Some(linked)) => {
            return Err(ServiceError::conflict(if linked.person_id == *person {
                "This is a way in of yours already."
            } else {
                "This is somebody else's way in here already."
            }));
        }
        (Meant::Join(_), Some(_)) => {
            let message = "You come in by this already: sign in, and open the link in the letter again.";
            return Err(ServiceError::conflict(message));
        }
        (Meant::Join(token), None) => join(service, trusted, identity, token).await?,
        (Meant::SignIn, Some(linked)) => {
            service.ledger().see_identity(linked.id, service.now()).await?;
            linked.person_id
        }
        (Meant::SignIn, None) => match stranger(service, trusted, identity).await? {
            Stranger::New(person) => person,
            Stranger::Known(email) => return Ok(Outcome::Mail(email)),
        },
    };
    Ok(Outcome::In(enter(service, person, name, device).await?))
}

async fn enter(service: &Service, person: PersonId, name: &str, device: &str) -> Result<sessions::Begun, ServiceError> {
    let found = service.ledger().person(person).await?.filter(|person| person.disabled_at.is_none());
    let found = found.ok_or_else(|| ServiceError::conflict("You may not sign in here: ask whoever runs this."))?;
    sessions::begin_by(service, found.id, Some(name), device).await
}

/// Who signs in by an identity that is nobody's: a new person, or one of this address.
enum Stranger {
    New(PersonId),
    Known(String),
}

async fn stranger(service: &Service, trusted: &Trusted, identity: &Identity) -> Result<Stranger, ServiceError> {
    let label = &trusted.label;
    let Some(address) = proved(identity) else {
        return Err(ServiceError::conflict(format!(
            "Nobody here signs in by this, and {label} does not say that an address of yours was proved. Who has signed in \
             already can add {label} on the page Settings; others come in by an invitation."
        )));
    };
    match service.ledger().person_by_email(&address).await? {
        Some(person) if person.disabled_at.is_some() => {
            Err(ServiceError::conflict("You may not sign in here: ask whoever runs this."))
        }
        Some(person) => Ok(Stranger::Known(person.email)),
        None if !trusted.sign_up => {
            let message = format!(
                "Nobody here signs in by this. People do not come in by {label} alone: they need an invitation, of a member of \
                 an account or of whoever runs this."
            );
            Err(ServiceError::conflict(message))
        }
        None => {
            let person = add(service, trusted, identity, address.clone(), None).await?;
            joining::own_account(service, person, &address).await?;
            Ok(Stranger::New(person))
        }
    }
}

/// Mails the person of an address who signs in by an issuer for the first time: only whoever reads the letter, in the browser
/// that the issuer named, is that person. Returns the hash of the letter's token, which that browser remembers.
///
/// # Errors
///
/// There is no such issuer ([`NotFound`](ServiceError::NotFound)), or no letter can be sent now.
pub async fn ask_by_letter(service: &Service, name: &str, email: &str) -> Result<String, ServiceError> {
    let label = &named(service, name)?.label;
    let token = new_token();
    let link = service.people.link_to("identities/confirm", &token);
    let text = format!(
        "Somebody, you we hope, wants to sign in by {label} as you. This link allows it, in the browser in which that was \
         begun; it is good for half an hour:\n\n{link}\n\n\
         If that was not you, do not open it: nothing else needs to be done.\n"
    );
    mail(service, email, "Another way to sign in", text, CONFIRM_MS).await?;
    Ok(token_hash(&token))
}

/// A new person of an identity. With the token of a link that was mailed to the address, that is used up.
async fn add(
    service: &Service,
    trusted: &Trusted,
    identity: &Identity,
    email: String,
    token: Option<&str>,
) -> Result<PersonId, ServiceError> {
    let (id, now) = (PersonId(Uuid::now_v7()), service.now());
    let name = name_of(identity, &email);
    let new = Person { id, email, name, password: None, verified_at: now, created_at: now, disabled_at: None };
    let by = stored(service, trusted, identity, id);
    let link = token.map(token_hash);
    if !service.ledger().add_person_by_identity(&new, &by, link.as_deref(), now).await? {
        return Err(ServiceError::conflict("The link or the address was just used: sign in again."));
    }
    Ok(id)
}

fn stored(service: &Service, trusted: &Trusted, identity: &Identity, person_id: PersonId) -> StoredIdentity {
    let now = service.now();
    StoredIdentity {
        id: Uuid::now_v7(),
        person_id,
        issuer: trusted.issuer.address().to_owned(),
        subject: identity.subject.clone(),
        email: identity.email.as_deref().and_then(|email| email::canonical(email).ok()),
        linked_at: now,
        used_at: now,
    }
}

/// The name that an issuer tells, as one may be here; otherwise the address's.
fn name_of(identity: &Identity, email: &str) -> String {
    let said: String = identity.name.iter().flat_map(|name| name.chars()).filter(|c| !c.is_control()).collect();
    let said: String = said.trim().chars().take(LONGEST_NAME).collect();
    if said.is_empty() { email.chars().take_while(|c| *c != '@').collect() } else { said }
}

/// Makes somebody a person who has a link that was mailed: that has proved the address, whatever the issuer says of it.
async fn join(
    service: &Service,
    trusted: &Trusted,
    identity: &Identity,
    token: &str,
) -> Result<PersonId, ServiceError> {
    let link = find_link(service, token).await?;
    if !matches!(link.purpose, Purpose::SignUp | Purpose::Invite { .. }) {
        return Err(ServiceError::NotFound("this link"));
    }
    if service.ledger().person_by_email(&link.email).await?.is_some() {
        let message = "This address is a person's already: open the link in the letter again, and sign in as usual.";
        return Err(ServiceError::conflict(message));
    }
    let person = add(service, trusted, identity, link.email.clone(), Some(token)).await?;
    joining::seat(service, &link, person).await?;
    Ok(person)
}

/// Links an identity to a person who has signed in and wants it.
///
/// # Errors
///
/// It is somebody's already ([`Conflict`](ServiceError::Conflict)), there is no such issuer
/// ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written.
pub async fn link(service: &Service, (name, identity): (&str, &Identity), person: &Person) -> Result<(), ServiceError> {
    let trusted = named(service, name)?;
    let new = stored(service, trusted, identity, person.id);
    if !service.ledger().link_identity(&new).await? {
        return Err(ServiceError::conflict("This is somebody's way in here already."));
    }
    tell(service, person, &format!("From now on you sign in by {} too.", trusted.label)).await
}

/// Links an identity by a letter that was opened, and has its person in.
///
/// # Errors
///
/// As [`link`]; or nobody has the address any more ([`NotFound`](ServiceError::NotFound)).
pub async fn confirm(
    service: &Service,
    (name, identity): (&str, &Identity),
    email: &str,
    device: &str,
) -> Result<sessions::Begun, ServiceError> {
    let person = service.ledger().person_by_email(email).await?;
    let person = person.filter(|person| person.disabled_at.is_none()).ok_or(ServiceError::NotFound("this link"))?;
    link(service, (name, identity), &person).await?;
    enter(service, person.id, name, device).await
}

/// A way in of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayIn {
    /// Its id.
    pub id: Uuid,
    /// The issuer's label, or its address where it is trusted no more.
    pub label: String,
    /// The address that the issuer told when it was linked.
    pub email: Option<String>,
    /// When it was linked.
    pub linked_at: Timestamp,
    /// When it was last used.
    pub used_at: Timestamp,
}

/// The ways in of a person by issuers.
///
/// # Errors
///
/// The ledger can't be read just now.
pub async fn ways(service: &Service, person: PersonId) -> Result<Vec<WayIn>, ServiceError> {
    let label = |address: &str| {
        let trusted = service.people.issuers.values().find(|trusted| trusted.issuer.address() == address);
        trusted.map_or_else(|| address.to_owned(), |trusted| trusted.label.clone())
    };
    let found = service.ledger().identities(person).await?;
    let way = |StoredIdentity { id, issuer, email, linked_at, used_at, .. }: StoredIdentity| WayIn {
        id,
        label: label(&issuer),
        email,
        linked_at,
        used_at,
    };
    Ok(found.into_iter().map(way).collect())
}

/// Ends a way in of a person.
///
/// # Errors
///
/// It is the last one ([`Conflict`](ServiceError::Conflict)), the person has none with this id
/// ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written.
pub async fn unlink(service: &Service, person: &Person, id: Uuid) -> Result<(), ServiceError> {
    let issuers: Vec<&str> = service.people.issuers.values().map(|trusted| trusted.issuer.address()).collect();
    match service.ledger().unlink_identity(person.id, id, service.people.opens_by_password, &issuers).await? {
        Unlinked::Done => tell(service, person, "A way to sign in was removed: it opens nothing any more.").await,
        Unlinked::LastWayIn => Err(ServiceError::conflict("This is your last way in: have another one first.")),
        Unlinked::None => Err(ServiceError::NotFound("a way in with that id")),
    }
}

/// Tells a person of a change of the ways in: if it was somebody else, the person should know.
async fn tell(service: &Service, person: &Person, what: &str) -> Result<(), ServiceError> {
    let text = format!(
        "{what}\n\nIf that was not you, look at the page Settings at once: it has your ways in and your sessions.\n"
    );
    mail(service, &person.email, "Your ways to sign in have changed", text, NOTICE_MS).await
}

/// Where a browser ends the session with the issuer by whose word one here has begun, and comes back from; with the issuer's
/// label.
pub async fn end(service: &Service, name: &str) -> Option<(String, String)> {
    let trusted = service.people.issuers.get(name)?;
    // Nobody waits long to sign out.
    let address = tokio::time::timeout(END_WITHIN, trusted.issuer.end(service.people.page("sign-in"))).await.ok()??;
    Some((address, trusted.label.clone()))
}

impl super::People {
    /// The issuers by whose word people sign in: the name and the label of each.
    pub fn issuers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.issuers.iter().map(|(name, trusted)| (&**name, &*trusted.label))
    }

    /// Whether passwords open anything.
    pub const fn opens_by_password(&self) -> bool {
        self.opens_by_password
    }

    /// Refuses what is done with passwords, where those open nothing.
    pub(super) fn check_passwords(&self) -> Result<(), ServiceError> {
        if self.opens_by_password {
            return Ok(());
        }
        let labels = self.issuers().map(|(_, label)| label).collect::<Vec<_>>().join(" or ");
        Err(ServiceError::conflict(format!("Passwords open nothing here: sign in by {labels}.")))
    }

    /// Whether anybody may sign up alone by a letter.
    pub fn is_open(&self) -> bool {
        self.sign_up == SignUp::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(email: Option<&str>, is_verified: bool, name: Option<&str>) -> Identity {
        Identity { subject: "1".into(), email: email.map(Into::into), is_verified, name: name.map(Into::into) }
    }

    #[test]
    fn only_a_proved_address_of_its_domains_counts() {
        let domains = ["example.com".to_owned()];
        assert!(is_of(&identity(Some(" Ada@Example.com"), true, None), &domains));
        for (email, is_verified) in [
            (Some("ada@example.com"), false),
            (None, true),
            (Some("ada@evil-example.com"), true),
            (Some("ada@sub.example.com"), true),
            (Some("ada@example.com@evil.test"), true),
            (Some("example.com"), true),
        ] {
            assert!(!is_of(&identity(email, is_verified, None), &domains), "{email:?}");
        }
    }

    #[test]
    fn a_name_is_what_names_may_be() {
        let of = |name: Option<&str>| name_of(&identity(None, false, name), "ada@example.com");
        assert_eq!(of(Some(" A\nda ")), "Ada");
        assert_eq!((of(Some(" \n")).as_str(), of(None).as_str()), ("ada", "ada"));
        assert_eq!(of(Some(&"x".repeat(500))).len(), 100);
    }
}
