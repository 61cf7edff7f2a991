//! Deliveries in the database: created by the trigger, and left by changes of their endpoint.

use billing::{account::Header, entry::Transition, event::Event, plan::Plan, resource::Resource};

use super::*;
use crate::tests::new_ledger;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

struct Stage {
    ledger: Ledger,
    _folder: tempfile::TempDir,
    account: AccountId,
}

impl Stage {
    async fn set() -> Self {
        let (ledger, folder) = new_ledger().await;
        let account = AccountId(Uuid::from_u128(1));
        ledger.create_account(account, "ada@example.com", Plan::Payg, NOW).await.unwrap();
        Self { ledger, _folder: folder, account }
    }

    async fn hook(&self, id: u128, kinds: Option<Vec<EventKind>>) -> Uuid {
        let endpoint = Endpoint {
            id: Uuid::from_u128(id),
            account_id: self.account,
            url: "https://example.com/".into(),
            description: String::new(),
            secret: "whsec_".into(),
            kinds,
            keys: None,
            created_at: NOW,
            disabled: None,
        };
        let id = endpoint.id;
        self.write(vec![Resource::Endpoint(endpoint)], Vec::new()).await;
        id
    }

    async fn turn_off(&self, hook: Uuid) {
        let KnownEndpoint { endpoint, .. } = self.ledger.endpoint(self.account, hook).await.unwrap().unwrap();
        let endpoint = Endpoint { disabled: Some((NOW, Because::Owner)), ..endpoint };
        self.write(vec![Resource::Endpoint(endpoint)], Vec::new()).await;
    }

    async fn tell(&self, kind: EventKind, subject: &str) {
        self.write(Vec::new(), vec![Event::new(kind, subject)]).await;
    }

    async fn write(&self, resources: Vec<Resource>, events: Vec<Event>) {
        let header = Header::new(Plan::Payg, NOW);
        let transition = Transition { resources, events, ..Transition::unchanged(self.account, 0, NOW, header) };
        self.ledger.append_transition(transition, NOW).await.unwrap();
    }

    async fn count(&self, endpoint: Uuid) -> usize {
        self.ledger.deliveries(endpoint, None, 100).await.unwrap().len()
    }
}

#[tokio::test]
async fn an_event_told_again_is_not_delivered_again() {
    let stage = Stage::set().await;
    let (all, low) = (stage.hook(1, None).await, stage.hook(2, Some(vec![EventKind::LowBalance])).await);
    for _ in 0..2 {
        stage.tell(EventKind::LowBalance, "once").await;
        stage.tell(EventKind::TierFalling, "once").await;
    }
    assert_eq!((stage.count(all).await, stage.count(low).await), (2, 1));
    // One delivery of each endpoint is due, the oldest.
    let due = stage.ledger.due_deliveries(NOW, 10).await.unwrap();
    assert_eq!(due.iter().map(|due| due.kind.as_str()).collect::<Vec<_>>(), ["low_balance", "low_balance"]);
    assert!(stage.ledger.due_deliveries(NOW.plus_ms(-1), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_attempt_on_a_delivery_that_has_ended_changes_nothing() {
    let stage = Stage::set().await;
    let hook = stage.hook(1, None).await;
    stage.tell(EventKind::LowBalance, "once").await;
    let due = stage.ledger.due_deliveries(NOW, 10).await.unwrap().remove(0);
    stage.turn_off(hook).await;
    let late = Attempt {
        endpoint_id: hook,
        event_id: due.event_id,
        account_id: stage.account,
        at: NOW,
        answer: Some((410, String::new())),
        error: None,
        fate: Fate::Disable(Because::Gone),
    };
    stage.ledger.note_attempt(&late).await.unwrap();
    let delivery = stage.ledger.deliveries(hook, None, 1).await.unwrap().remove(0);
    assert_eq!((delivery.status.as_str(), delivery.attempts, delivery.answer_status), ("failed", 0, None));
    let known = stage.ledger.endpoint(stage.account, hook).await.unwrap().unwrap();
    assert_eq!((known.failing_since, known.endpoint.disabled), (None, Some((NOW, Because::Owner))));
}

#[tokio::test]
async fn deliveries_are_forgotten_when_old_or_without_an_endpoint() {
    let stage = Stage::set().await;
    let (kept, lost) = (stage.hook(1, None).await, stage.hook(2, None).await);
    stage.tell(EventKind::LowBalance, "once").await;
    let sql = "DELETE FROM webhook_endpoint WHERE id = ?";
    stage.ledger.write.execute_raw(stage.ledger.statement(sql, [lost.into()])).await.unwrap();
    let later = NOW.plus_ms(1);
    assert_eq!(stage.ledger.forget_deliveries(NOW, 10).await.unwrap(), 0);
    assert_eq!(stage.ledger.forget_deliveries(later, 10).await.unwrap(), 1);
    assert_eq!((stage.count(kept).await, stage.count(lost).await), (1, 0), "what waits is kept");
    stage.turn_off(kept).await;
    assert_eq!(stage.ledger.forget_deliveries(later, 10).await.unwrap(), 1);
}

#[tokio::test]
async fn looking_for_what_is_due_reads_an_index_that_is_empty_when_nothing_waits() {
    let stage = Stage::set().await;
    let ledger = &stage.ledger;
    let values: [Value; 2] = [0_i64.into(), 1_i64.into()];
    let rows = ledger.rows(&format!("EXPLAIN QUERY PLAN {}", due_sql("1 = 1")), values).await.unwrap();
    let steps: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
    let plan = steps.join("\n");
    assert!(plan.contains("SEARCH webhook_delivery USING INDEX webhook_delivery_due"), "{plan}");
    assert!(!plan.contains("SCAN webhook"), "{plan}");
}

#[test]
fn kinds_are_read_as_they_are_written() {
    for kinds in [vec![EventKind::LowBalance], EventKind::ALL.to_vec()] {
        assert_eq!(kinds_of(&kinds_text(Some(&kinds)).unwrap()).unwrap(), kinds);
    }
    assert_eq!(kinds_text(None), None);
    assert!(kinds_of(" low_balance lottery_won ").is_err());
}
