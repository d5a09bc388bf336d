//! The gate through which every value of a forward pass goes.
//!
//! Where nobody stands at a site, the transformer does not even make its value: it asks `touches` and takes the fused way.

use crate::clamp::Clamp;
use crate::site::{Place, Site};
use candle_core::{Result, Tensor, Var};
use std::sync::Arc;

/// Who stands where in one forward pass: clamps replace values, looks keep them.
#[derive(Default)]
pub struct Gate {
    clamps: Vec<Clamp>,
    looked_at: Vec<Place>,
    kept: Vec<Place>,
    probed: Vec<Place>,
    seen: Vec<(Place, Tensor)>,
    probes: Vec<(Place, Var)>,
    /// Nobody reads the logits.
    unread: bool,
}

impl Gate {
    /// Nobody stands anywhere.
    pub fn closed() -> Self {
        Self::default()
    }

    /// Keeps the values at some places, as they are after all clamps, until `take_seen`.
    pub fn looking_at(places: impl IntoIterator<Item = Place>) -> Self {
        Self { looked_at: places.into_iter().collect(), ..Self::default() }
    }

    /// Keeps the values at further places, until `take_seen`.
    pub fn look_at(&mut self, places: impl IntoIterator<Item = Place>) {
        self.looked_at.extend(places);
    }

    /// Makes the gradients at some places known after `backward`, by `take_probes`.
    pub fn probing(places: impl IntoIterator<Item = Place>) -> Self {
        Self { probed: places.into_iter().collect(), ..Self::default() }
    }

    /// Clamps values.
    pub fn clamping(clamps: Vec<Clamp>) -> Self {
        let mut gate = Self::default();
        gate.put_first(clamps);
        gate
    }

    /// Puts clamps before those that are there.
    pub(crate) fn put_first(&mut self, clamps: Vec<Clamp>) {
        let later = std::mem::replace(&mut self.clamps, clamps);
        self.clamps.extend(later);
        let earlier: Vec<Place> = self.clamps.iter().filter_map(Clamp::reads_earlier).collect();
        self.kept.extend(earlier);
    }

    /// Keeps values for other passes, until `take_kept`.
    pub(crate) fn keep(&mut self, places: impl IntoIterator<Item = Place>) {
        self.kept.extend(places);
    }

    /// Nobody reads the logits of this pass.
    pub(crate) fn leave_unread(&mut self) {
        self.unread = true;
    }

    /// Whether the logits at the query, the last of `pairs`, are given whatever the model answers, or nobody reads them.
    pub fn is_answered(&self, pairs: usize) -> bool {
        // Of flags `[P, C]` the last C; of one that stands for all, that one.
        let given = |replaced: Vec<bool>| replaced[replaced.len() - replaced.len().div_ceil(pairs)..].iter().all(|&given| given);
        (self.unread || self.replaced((Site::Logits, None)).is_some_and(given))
            && !self.touches_any(&[Site::FinalNorm, Site::Unembedding], None)
            && !self.is_seen((Site::Logits, None))
    }

    /// Whether the value at a site is replaced whatever it is.
    pub fn replaces(&self, site: Site, layer: Option<usize>) -> bool {
        self.replaced((site, layer)).is_some_and(|replaced| replaced.iter().all(|&replaced| replaced))
    }

    /// Which entries of the value at a place are replaced whatever they are, `[1, 1, …]`, or one flag for all; none where no clamp says so.
    fn replaced(&self, place: Place) -> Option<Vec<bool>> {
        let own = self.clamps.iter().filter(|clamp| clamp.place == place).filter_map(|clamp| clamp.replaces.as_deref());
        own.map(<[bool]>::to_vec).reduce(|one, other| match (&one[..], &other[..]) {
            ([all], _) | (_, [all]) if *all => vec![true],
            _ => one.iter().zip(&other).map(|(a, b)| a | b).collect(),
        })
    }

    /// Whether anybody stands in a block from this layer on.
    pub fn touches_from(&self, layer: usize) -> bool {
        self.places().any(|(_, own)| own.is_some_and(|own| own >= layer))
    }

    /// Whether anybody stands at another site of a layer.
    pub fn touches_another(&self, site: Site, layer: Option<usize>) -> bool {
        self.places().any(|(other, own)| own == layer && other != site)
    }

    /// Where somebody stands.
    fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let clamped = self.clamps.iter().map(|clamp| clamp.place);
        clamped.chain([&self.looked_at, &self.kept, &self.probed].into_iter().flatten().copied())
    }

    /// Whether the value at a place is looked at, kept or probed.
    fn is_seen(&self, place: Place) -> bool {
        [&self.looked_at, &self.kept, &self.probed].into_iter().any(|places| places.contains(&place))
    }

    /// Whether anybody stands at a site.
    pub fn touches(&self, site: Site, layer: Option<usize>) -> bool {
        self.touches_any(&[site], layer)
    }

    /// Whether anybody stands at one of several sites.
    pub fn touches_any(&self, sites: &[Site], layer: Option<usize>) -> bool {
        self.places().any(|(site, own)| own == layer && sites.contains(&site))
    }

    /// Which heads have no value, for each member, where that is all that is done at several sites; somebody may look at the pattern.
    pub fn silenced(&self, layer: Option<usize>, sites: &[Site]) -> Option<Arc<[bool]>> {
        let here = |place: &Place| place.1 == layer && sites.contains(&place.0);
        let lookers = self.looked_at.iter().chain(&self.kept).chain(&self.probed);
        let only_pattern = |place: &Place| {
            place.0 == Site::Pattern && self.looked_at.contains(place) && !self.kept.contains(place) && !self.probed.contains(place)
        };
        if lookers.filter(|place| here(place)).any(|place| !only_pattern(place)) {
            return None;
        }
        let mut silenced: Option<Vec<bool>> = None;
        for clamp in self.clamps.iter().filter(|clamp| here(&clamp.place)) {
            let own = clamp.silences.as_ref()?;
            match &mut silenced {
                Some(silenced) => silenced.iter_mut().zip(own.iter()).for_each(|(silent, &own)| *silent |= own),
                None => silenced = Some(own.to_vec()),
            }
        }
        silenced.map(Arc::from)
    }

    /// Whether, of several sites, one alone is stood at, and only to look.
    pub fn only_looks_at(&self, site: Site, layer: Option<usize>, sites: &[Site]) -> bool {
        let place = (site, layer);
        let more = || self.kept.contains(&place) || self.probed.contains(&place) || self.clamps.iter().any(|clamp| clamp.place == place);
        self.looked_at.contains(&place) && !more() && !sites.iter().any(|&other| other != site && self.touches(other, layer))
    }

    /// Hands a value through.
    ///
    /// # Errors
    /// What replaces it has another shape.
    pub fn pass(&mut self, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor> {
        let place = (site, layer);
        if !self.touches(site, layer) {
            return Ok(value);
        }
        let mut value = value;
        for clamp in self.clamps.iter().filter(|clamp| clamp.place == place) {
            value = clamp.apply(&value, &self.seen)?;
        }
        if self.probed.contains(&place) {
            // The gradient of a zero that is added is that of the value.
            let zero = Var::from_tensor(&value.zeros_like()?)?;
            value = (value + zero.as_tensor())?;
            self.probes.push((place, zero));
        }
        if self.looked_at.contains(&place) || self.kept.contains(&place) {
            self.seen.push((place, value.clone()));
        }
        Ok(value)
    }

    /// What was looked at, in the order of the pass.
    pub fn take_seen(&mut self) -> Vec<(Place, Tensor)> {
        let looked_at = &self.looked_at;
        std::mem::take(&mut self.seen).into_iter().filter(|(place, _)| looked_at.contains(place)).collect()
    }

    /// What was kept for other passes.
    pub(crate) fn take_kept(&mut self) -> Vec<(Place, Tensor)> {
        std::mem::take(&mut self.seen)
    }

    /// The variables whose gradients are those of the probed places.
    pub fn take_probes(&mut self) -> Vec<(Place, Var)> {
        std::mem::take(&mut self.probes)
    }
}
