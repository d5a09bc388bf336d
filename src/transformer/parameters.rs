//! The parameters of a cohort, named, in a fixed order, stacked over its members.

use crate::transformer::Architecture;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor, Var};

/// Named parameters, each `[K, …]`.
pub struct Parameters {
    members: usize,
    entries: Vec<(String, Var)>,
}

impl Parameters {
    /// Stacks the parameters of several models, each a list of names and tensors in the order of the architecture.
    ///
    /// # Errors
    /// There is no model, or they differ in names or shapes.
    pub fn stack(models: &[Vec<(String, Tensor)>], device: &Device) -> Result<Self> {
        let Some(first) = models.first() else { return Err(Error::Internal("a cohort needs a model".into())) };
        let entries = first.iter().enumerate().map(|(index, (name, _))| {
            let parts: Vec<&Tensor> =
                models.iter().filter_map(|model| Some(&model.get(index).filter(|entry| entry.0 == *name)?.1)).collect();
            if parts.len() != models.len() {
                return Err(Error::Internal(format!("the models of a cohort do not all have a parameter {name}")));
            }
            Ok((name.clone(), Var::from_tensor(&Tensor::stack(&parts, 0)?.to_device(device)?)?))
        });
        Ok(Self { members: models.len(), entries: entries.collect::<Result<_>>()? })
    }

    /// How many members the cohort has, K.
    pub fn members(&self) -> usize {
        self.members
    }

    /// Names and variables, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.entries.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// A copy of one member's parameters where they are: a cohort of one.
    pub fn copy_of(&self, member: usize) -> Result<Self> {
        // Becoming a variable copies what is none.
        let copy = |(name, var): &(String, Var)| Ok((name.clone(), Var::from_tensor(&var.as_detached_tensor().narrow(0, member, 1)?)?));
        Ok(Self { members: 1, entries: self.entries.iter().map(copy).collect::<Result<_>>()? })
    }

    /// A copy of one member's parameters on the CPU.
    pub fn of_member(&self, member: usize) -> Result<Vec<(String, Tensor)>> {
        self.entries.iter().map(|(name, var)| Ok((name.clone(), var.get(member)?.to_device(&Device::Cpu)?.copy()?))).collect()
    }

    /// The tensor of a parameter, which follows it through training.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        let found = self.entries.iter().find(|entry| entry.0 == name);
        found.map(|entry| entry.1.as_tensor().clone()).ok_or_else(|| Error::Internal(format!("there is no parameter {name}")))
    }

    /// The type of number.
    pub fn dtype(&self) -> DType {
        self.entries.first().map_or(DType::F32, |entry| entry.1.dtype())
    }

    /// Where they are.
    pub fn device(&self) -> &Device {
        self.entries.first().map_or(&Device::Cpu, |entry| entry.1.device())
    }

    /// That these are the parameters of an architecture.
    ///
    /// # Errors
    /// A parameter is missing, too much, or of another shape.
    pub fn check(&self, architecture: &Architecture) -> Result<()> {
        let stacked = |shape: &[usize]| [&[self.members], shape].concat();
        check_shapes(architecture, self.entries.iter().map(|(name, var)| (name.as_str(), var.dims())), stacked)
    }
}

/// That names and shapes of parameters are those of an architecture, each shape changed by `shaped` first.
///
/// # Errors
/// The first parameter that is missing, too much, or of another shape.
pub fn check_shapes<'a>(
    architecture: &Architecture,
    found: impl Iterator<Item = (&'a str, &'a [usize])>,
    shaped: impl Fn(&[usize]) -> Vec<usize>,
) -> Result<()> {
    let found: Vec<_> = found.collect();
    let wanted = architecture.parameters();
    for (name, shape) in &wanted {
        let shape = shaped(shape);
        match found.iter().find(|entry| entry.0 == name) {
            None => return Err(Error::Invalid(format!("parameter {name} of shape {shape:?} is missing"))),
            Some((_, is)) if **is != *shape => {
                return Err(Error::Invalid(format!("parameter {name} has shape {is:?}, the model needs {shape:?}")));
            }
            Some(_) => {}
        }
    }
    match found.iter().find(|entry| wanted.iter().all(|(name, _)| name != entry.0)) {
        Some((name, _)) => Err(Error::Invalid(format!("the model has no parameter {name}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_follow_what_it_was_made_of() {
        let model = |number: f32| vec![("weight".to_owned(), Tensor::new(&[number, -number], &Device::Cpu).unwrap())];
        for models in [vec![model(3.0)], vec![model(1.0), model(3.0)]] {
            let cohort = Parameters::stack(&models, &Device::Cpu).unwrap();
            let copy = cohort.copy_of(models.len() - 1).unwrap();
            cohort.iter().for_each(|(_, var)| var.set(&var.zeros_like().unwrap()).unwrap());
            assert_eq!(copy.members(), 1);
            assert_eq!(copy.get("weight").unwrap().to_vec2::<f32>().unwrap(), [[3.0, -3.0]]);
        }
    }
}
