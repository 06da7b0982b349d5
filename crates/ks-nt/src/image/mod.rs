//! The image of a driver: parsed, mapped, relocated, bound.
