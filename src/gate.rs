//! The gate through which every value of a forward pass goes.
//!
//! Where nobody stands at a site, the transformer does not even make its value: it asks `touches` and takes the fused way.

use crate::site::Site;
use bevy_ecs::component::Component;
use candle_core::{Result, Tensor};

/// A site in one layer, or one that belongs to no layer.
pub type Place = (Site, Option<usize>);

/// Who stands where, compiled from a model's entities when they change, not asked at every step.
#[derive(Component, Default)]
pub struct Gate {
    looked_at: Vec<Place>,
    seen: Vec<(Place, Tensor)>,
}

impl Gate {
    /// Nobody looks.
    pub fn closed() -> Self {
        Self::default()
    }

    /// Keeps the values at some places, until `take_seen`.
    pub fn looking_at(places: impl IntoIterator<Item = Place>) -> Self {
        Self { looked_at: places.into_iter().collect(), seen: Vec::new() }
    }

    /// Whether anybody stands at a site.
    pub fn touches(&self, site: Site, layer: Option<usize>) -> bool {
        self.looked_at.contains(&(site, layer))
    }

    /// Whether anybody stands at one of several sites.
    pub fn touches_any(&self, sites: &[Site], layer: Option<usize>) -> bool {
        !self.looked_at.is_empty() && sites.iter().any(|&site| self.touches(site, layer))
    }

    /// Hands a value through.
    ///
    /// # Errors
    /// None yet: what may replace a value may also fail.
    pub fn pass(&mut self, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor> {
        if self.touches(site, layer) {
            self.seen.push(((site, layer), value.clone()));
        }
        Ok(value)
    }

    /// What was seen in the forward passes since the last call, in the order of the pass.
    pub fn take_seen(&mut self) -> Vec<(Place, Tensor)> {
        std::mem::take(&mut self.seen)
    }
}
