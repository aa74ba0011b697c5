;; Components in components, aliases outward, and a value that is exported twice.
(component
  (type $t (record (field "a" u32) (field "b" (list string))))
  (component $inner
    (core module $m (memory (export "m") 1) (func (export "f") (result i32) i32.const 0)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0))
    (core instance $i (instantiate $m))
    (func $f (result u32) (canon lift (core func $i "f")))
    (export "f" (func $f)))
  (instance $a (instantiate $inner))
  (instance $b (instantiate $inner))
  (export "a" (instance $a))
  (export "b" (instance $b))
  (@custom "tidegate:manifest" "name = \"x\"\nversion = \"1\"\nevents = [\"track\"]\n"))
