//! What a running request waits for, in words.

use actors::running::{SeenRequest, Stage};

use super::{Gateway, pools::Standing};
use crate::catalogue::Model;

impl Gateway {
    /// What a running request waits for, in words.
    pub fn waits_for(&self, request: &SeenRequest) -> String {
        let about = &request.about;
        match request.stage {
            Stage::Entering => {
                "its account, which is to let it in: credits, a permit, the rate limit, or the row in the log \
                                that makes its hold durable"
                    .to_owned()
            }
            Stage::Waiting | Stage::Queued | Stage::Computing => self.waits_for_model(request),
            Stage::Calling => {
                let running = self.providers.get(&*about.provider).map_or(0, actors::provider::ProviderHandle::running);
                format!("the first piece of the answer of {}, where {running} calls run", about.provider)
            }
            Stage::Answering => "nothing: its answer comes".to_owned(),
            Stage::Draining => "the end of what was begun: nobody reads its answer any more".to_owned(),
            Stage::Settling => "the row in the log that makes its charge durable".to_owned(),
        }
    }

    fn waits_for_model(&self, request: &SeenRequest) -> String {
        let name = &request.about.model;
        let Ok(Model::Open(model)) = self.models.known().find(name) else {
            return format!("{name}, which is not in the catalogue any more");
        };
        let status = self.status(&model);
        if let Some(stands) = status.seen.stalled {
            return format!("the engine of {name}, which makes no progress for {} s", stands.as_secs());
        }
        let (running, behind) = (status.seen.begun, status.waiting());
        match (request.stage, status.seen.model.standing) {
            (Stage::Computing, _) => format!("the engine of {name}, which computes for {running} requests"),
            (_, Standing::Loading) => match status.seen.model.expected {
                Some(expected) => format!("the load of {name}, expected to take {} ms", expected.time.as_millis()),
                None => format!("the load of {name}"),
            },
            (_, Standing::Warm) => format!("a place in the engine of {name}: {running} run, and {behind} wait"),
            (_, Standing::Cold | Standing::Failed | Standing::Unavailable) => {
                let why = status.seen.model.why.unwrap_or_else(|| "it is not in memory".to_owned());
                format!("{name}: {why}")
            }
        }
    }
}
