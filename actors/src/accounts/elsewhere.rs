//! Accounts that other nodes answer for. A question goes to the account's actor where this process owns its shard, and to
//! the node that owns it elsewhere; while a shard moves it is asked again. Where one process owns everything, nothing of
//! this is used.

use std::{sync::Arc, time::Duration};

use billing::{
    command::{Answer, Command},
    ids::AccountId,
};
use futures::future::BoxFuture;
use ledger::log::Shard;
use runtime::clock::since_boot as now;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    Accounts, DEADLINE,
    asking::{Asking, Next, grown, grows},
};
use crate::account::{AccountError, Asked, Live, Question, Said};

/// How long after it was told to ask elsewhere a question is asked again. A shard has no owner for about so long when it
/// is handed over.
const MOVED: Duration = Duration::from_millis(20);

/// The other nodes, as accounts see them.
pub trait Elsewhere: Send + Sync {
    /// Whether this process answers for a shard now. To be asked each time: a lease ends by itself.
    fn is_here(&self, shard: Shard) -> bool;

    /// Whether no other node has counted this one as gone from a time of [`since_boot`](now) until now.
    fn is_known_since(&self, from: Duration) -> bool;

    /// Why this process may let nothing in, if it may not.
    fn fault(&self) -> Option<String>;

    /// Asks an account at the node that owns its shard. [`AccountError::Moved`] says that nothing was done there, or that no
    /// node is known: it is asked again. [`AccountError::Unavailable`] says that the question may have been handled.
    fn ask(
        &self,
        shard: Shard,
        account_id: AccountId,
        question: Question,
        within: Duration,
    ) -> BoxFuture<'static, Result<Said, AccountError>>;

    /// Tells the balances of another node's account to a watcher, the present one first, until the account may be elsewhere;
    /// no, where the watcher was too slow or has gone.
    fn watch(&self, shard: Shard, account_id: AccountId, watcher: mpsc::Sender<Live>) -> BoxFuture<'static, bool>;
}

impl Accounts {
    pub(crate) fn shard_of(&self, id: AccountId) -> Shard {
        self.ledger().shards().of(id)
    }

    /// Asks an account, wherever it is.
    pub(crate) async fn ask_anywhere<Q: Asked>(
        &self,
        id: AccountId,
        question: Q,
        deadline: Duration,
    ) -> Result<Q::Answer, AccountError> {
        match self.elsewhere() {
            None => self.ask_here(id, question, deadline).await,
            Some(elsewhere) => Box::pin(self.ask_around(elsewhere, id, question, deadline)).await,
        }
    }

    /// Asks an account here or at another node, until one answers for it.
    async fn ask_around<Q: Asked>(
        &self,
        elsewhere: &Arc<dyn Elsewhere>,
        id: AccountId,
        question: Q,
        deadline: Duration,
    ) -> Result<Q::Answer, AccountError> {
        let (shard, began) = (self.shard_of(id), now());
        let mut asking = Asking::new(&question);
        loop {
            let left = (began + deadline).saturating_sub(now());
            let answer = if elsewhere.is_here(shard) {
                self.ask_here(id, question.clone(), left).await
            } else {
                self.ask_there(elsewhere, id, question.clone().into(), left).await.and_then(Q::Answer::try_from)
            };
            if let Next::Done(answer) = asking.next(answer, elsewhere.is_here(shard), left > MOVED) {
                return answer;
            }
            tokio::time::sleep(MOVED).await;
            if let Some(answer) = asking.gives_up(elsewhere.is_known_since(began)) {
                return answer;
            }
        }
    }

    /// Asks an account of another node. A hold that grew is published here, where its request runs.
    async fn ask_there(
        &self,
        elsewhere: &Arc<dyn Elsewhere>,
        id: AccountId,
        question: Question,
        within: Duration,
    ) -> Result<Said, AccountError> {
        let grows = grows(&question);
        let said = elsewhere.ask(self.shard_of(id), id, question, within).await?;
        if let (Some(request_id), Said::Answer(answer)) = (grows, &said)
            && let Some(amounts) = grown(answer)
        {
            self.running().holds(request_id, amounts);
        }
        Ok(said)
    }

    /// Posts a command to an account, wherever it is. What it returns ends once the command is handled, or nobody knows
    /// whether it is: of two that are posted the second may be handled first.
    pub(crate) fn post_anywhere(&self, id: AccountId, command: Command) -> oneshot::Receiver<()> {
        let (handled, ends) = oneshot::channel();
        // Whoever posts runs in a task of a worker's.
        if let Ok(handle) = Handle::try_current() {
            let accounts = self.clone();
            handle.spawn(async move {
                let _: Result<Answer, _> = accounts.ask_anywhere(id, command, DEADLINE).await;
                drop(handled);
            });
        }
        ends
    }

    /// Answers another node's question from an account of this process.
    ///
    /// # Errors
    ///
    /// [`AccountError::Moved`]: this process does not answer for the account. All others are the account's own answer.
    pub async fn answer(&self, id: AccountId, question: Question, within: Duration) -> Result<Said, AccountError> {
        if !self.elsewhere().is_some_and(|elsewhere| elsewhere.is_here(self.shard_of(id))) {
            return Err(AccountError::Moved);
        }
        Ok(match question {
            Question::Enter(enter) => self.ask_here(id, enter, within).await?.into(),
            Question::Decide(command) => self.ask_here(id, *command, within).await?.into(),
            Question::Buy(buy) => self.ask_here(id, buy, within).await?.into(),
            Question::Open(open) => self.ask_here(id, open, within).await?.into(),
            Question::Look(look) => self.ask_here(id, look, within).await?.into(),
            Question::Preview(preview) => self.ask_here(id, preview, within).await?.into(),
        })
    }
}
