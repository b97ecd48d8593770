//! Closed enums that travel as one byte, where any other byte is an error value.

/// Declares such enums, with their numbers.
macro_rules! codes {
    ($(
        $(#[$doc:meta])*
        pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal,)* }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_doc])* $variant = $number,)* }

        impl $name {
            /// All of them, by number.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// What `number` names; `None` if this version has none of that number.
            pub const fn from_number(number: u8) -> Option<$name> {
                match number {
                    $($number => Some($name::$variant),)*
                    _ => None,
                }
            }

            /// Its number on the wire.
            pub const fn number(self) -> u8 {
                self as u8
            }
        }
    )*};
}
