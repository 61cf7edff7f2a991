//! The open models of this node as other nodes are told of them, and those of other nodes as models of a catalogue.

use std::{path::PathBuf, sync::Arc};

use actors::cluster::place::Offer;

use super::{Gateway, pools::Standing};
use crate::catalogue::{Model, OpenModel, OpenTask};

impl Gateway {
    /// What this node has.
    pub async fn offers(&self) -> Vec<Offer> {
        let catalogue = self.models.fresh().await;
        let open = catalogue.models().filter_map(|(_, model)| match model {
            Model::Open(model) => Some(self.offer(model)),
            Model::Closed(_) => None,
        });
        open.collect()
    }

    /// How this node has a model.
    pub fn offer(&self, model: &OpenModel) -> Offer {
        let wanted = self.sizes.wanted(model);
        let (seen, (free, has_room)) = (self.pools.seen(&wanted), self.pools.room(&wanted));
        let standing = if self.runtime.is_file() { seen.model.standing } else { Standing::Unavailable };
        Offer {
            model: Arc::clone(&model.id),
            task: model.task.name().into(),
            class: model.class,
            parameters: model.parameters,
            context: model.context,
            standing,
            waiting: seen.model.waiting + seen.queued,
            has_room,
            free,
        }
    }
}

/// A model of another node, as a catalogue has it; `None` where it does what is not known here. It has no folder: it can't
/// run here.
pub fn model_of(offer: &Offer) -> Option<OpenModel> {
    Some(OpenModel {
        id: Arc::clone(&offer.model),
        task: OpenTask::named(&offer.task)?,
        folder: PathBuf::new(),
        class: offer.class,
        parameters: offer.parameters,
        context: offer.context,
        needs_cpu: false,
        import: (0, 0),
    })
}

#[cfg(test)]
mod tests {
    use billing::class::SizeClass;

    use super::*;

    #[test]
    fn a_model_of_another_node_is_listed_unless_it_does_what_is_not_known_here() {
        let offer = Offer {
            model: "m".into(),
            task: OpenTask::Embedding.name().into(),
            class: SizeClass::B15,
            parameters: 9,
            context: 7,
            standing: Standing::Warm,
            waiting: 0,
            has_room: true,
            free: 1,
        };
        let model = model_of(&offer).unwrap();
        assert_eq!((&*model.id, model.task, model.class, model.context), ("m", OpenTask::Embedding, SizeClass::B15, 7));
        assert_eq!(model_of(&Offer { task: "painting".into(), ..offer }), None);
    }
}
