;; Types in types: variants, results, tuples, flags, enums, and a component's type that is never used.
(component
  (type $deep (list (option (result (tuple u8 s64 char) (error string)))))
  (type (component
    (type $v (variant (case "a" u32) (case "b")))
    (export "v" (type (eq $v)))
    (type (instance (type (component)) (export "x" (func (param "y" string)))))))
  (type (flags "r" "w"))
  (type (enum "one" "two"))
  (core module (type (func)) (import "a" "b" (func (type 0))) (table 1 funcref) (data "x")))
