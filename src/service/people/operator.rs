//! What an operator does for people: finds them, invites them, gives them a link for another password where there is no mail,
//! turns them away, and forgets them.

use billing::{
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

/// Turns a person away, and ends all sessions; or lets the person in again.
///
/// # Errors
///
/// There is no such person ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written.
pub async fn disable(service: &Service, person: PersonId, is_disabled: bool) -> Result<(), ServiceError> {
    let since = is_disabled.then(|| service.now());
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
        member::leave(&service.ledger().members(membership.account_id).await?, found.person.id)?;
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
