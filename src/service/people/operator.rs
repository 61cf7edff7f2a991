//! What an operator does for people: finds them, invites them, gives them a link for another password where there is no mail,
//! turns them away, and forgets them.

use billing::{
    Timestamp,
    ids::{AccountId, PersonId},
    member::{self, Membership, Role},
};
use ledger::people::links::Purpose;
use uuid::Uuid;

use super::{
    super::{
        Service, ServiceError, accounts,
        page::{Listed, Page},
    },
    INVITE_MS, Person, SIGN_UP_MS, letters, mail, make_link,
    members::{self, By, MadeKeys},
};
use crate::email;

/// A person, with the memberships.
#[derive(Debug, Clone)]
pub struct Found {
    /// The person.
    pub person: Person,
    /// The memberships, each with the address of its account.
    pub memberships: Vec<(Membership, String)>,
}

/// People, newest first, who have this text in their address.
///
/// # Errors
///
/// The ledger can't be read just now.
pub async fn list(service: &Service, search: Option<&str>, page: Page) -> Result<Listed<Found>, ServiceError> {
    let small = search.map(|text| text.trim().to_lowercase());
    let people = service.ledger().people(small.as_deref(), page.before, page.limit).await?;
    let mut found = Vec::new();
    for person in people {
        found.push(with_memberships(service, person).await?);
    }
    Ok(page.list(found, |found| found.person.id.0))
}

async fn with_memberships(service: &Service, person: Person) -> Result<Found, ServiceError> {
    let memberships = service.ledger().memberships(person.id).await?;
    Ok(Found { person, memberships })
}

/// The person with this id or address.
///
/// # Errors
///
/// The text is neither ([`Invalid`](ServiceError::Invalid)), there is no such person
/// ([`NotFound`](ServiceError::NotFound)), or the ledger can't be read.
pub async fn named(service: &Service, text: &str) -> Result<Found, ServiceError> {
    let person = if text.contains('@') {
        let address = email::canonical(text).map_err(|fault| ServiceError::invalid("person", fault))?;
        service.ledger().person_by_email(&address).await?
    } else {
        let rule = "must be a person's id or address";
        let id = Uuid::parse_str(text).map_err(|_| ServiceError::invalid("person", rule))?;
        service.ledger().person(PersonId(id)).await?
    };
    with_memberships(service, person.ok_or(ServiceError::NotFound("the person"))?).await
}

/// Makes a link by which an address comes in: to an account in a role, or to a new account. It is mailed too, if that is
/// wanted.
///
/// # Errors
///
/// The text is no address ([`Invalid`](ServiceError::Invalid)), no letter can be sent, or the ledger can't be written.
pub async fn invite(
    service: &Service,
    email: &str,
    to: Option<(AccountId, Role)>,
    is_mailed: bool,
) -> Result<String, ServiceError> {
    let email = accounts::address(email)?;
    let purpose = to.map_or(Purpose::SignUp, |(account_id, role)| Purpose::Invite { account_id, role, by: None });
    let token = make_link(service, &email, purpose).await?;
    let link = service.people.link_to("join", &token);
    if is_mailed {
        let text = format!("Whoever runs this gateway invites you. This link accepts it; it is good once:\n\n{link}\n");
        mail(service, &email, "You are invited", text, if to.is_some() { INVITE_MS } else { SIGN_UP_MS }).await?;
    }
    Ok(link)
}

/// Makes a link by which a person sets another password.
///
/// # Errors
///
/// Passwords open nothing ([`Conflict`](ServiceError::Conflict)), or the ledger can't be written just now.
pub async fn reset_link(service: &Service, person: &Person) -> Result<String, ServiceError> {
    service.people.check_passwords()?;
    let token = make_link(service, &person.email, Purpose::Reset).await?;
    Ok(service.people.link_to("reset", &token))
}

/// Turns a person away, ends all sessions, and revokes the keys that the person made if that is wanted. Returns the public parts
/// of the keys that are revoked.
///
/// # Errors
///
/// There is no such person ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written: a repetition revokes the rest.
pub async fn disable(service: &Service, found: &Found, keys: MadeKeys) -> Result<Vec<String>, ServiceError> {
    let person = found.person.id;
    // Before the keys: nobody makes others meanwhile.
    set_disabled(service, person, Some(found.person.disabled_at.unwrap_or_else(|| service.now()))).await?;
    let mut revoked = Vec::new();
    if keys == MadeKeys::Revoke {
        for (membership, _) in &found.memberships {
            revoked.extend(members::revoke_made(service, membership.account_id, person).await?);
        }
    }
    Ok(revoked)
}

/// Lets a person in again. Keys that were revoked stay so.
///
/// # Errors
///
/// There is no such person ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written.
pub async fn enable(service: &Service, person: PersonId) -> Result<(), ServiceError> {
    set_disabled(service, person, None).await
}

async fn set_disabled(service: &Service, person: PersonId, since: Option<Timestamp>) -> Result<(), ServiceError> {
    let is_there = service.ledger().disable_person(person, since).await?;
    is_there.then_some(()).ok_or(ServiceError::NotFound("the person"))
}

/// Ends all memberships of a person, with the keys that the person made if that is wanted, and forgets the person. Returns the
/// public parts of the keys that are revoked.
///
/// # Errors
///
/// An account would have no owner left ([`Conflict`](ServiceError::Conflict)): make somebody else its owner first. Or the ledger
/// can't be written.
pub async fn forget(service: &Service, found: &Found, keys: MadeKeys) -> Result<Vec<String>, ServiceError> {
    // All or none, unless somebody else changes them meanwhile.
    for (membership, _) in &found.memberships {
        let (ledger, account) = (service.ledger(), membership.account_id);
        member::leave(&ledger.members(account).await?, &members::away(ledger, account).await?, found.person.id)?;
    }
    let mut revoked = Vec::new();
    for (membership, _) in &found.memberships {
        let account = membership.account_id;
        revoked.extend(members::remove(service, account, found.person.id, By::Operator, keys).await?);
    }
    letters::forget(service, &found.person.email).await?;
    service.ledger().forget_person(&found.person).await?;
    Ok(revoked)
}
