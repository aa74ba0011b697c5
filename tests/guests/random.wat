;; Rejects with eight random letters.
(module
  (import "tidegate:destination/random@0.1.0" "bytes" (func $bytes (param i32 i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  ;; A bump allocator that never frees: the instance lives for one call.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32)
    (local $at i32) (local $end i32)
    (call $bytes (i32.const 8) (i32.const 24))
    (i32.store8 (i32.const 16) (i32.const 2))
    (local.set $at (i32.load (i32.const 24)))
    (local.set $end (i32.add (local.get $at) (i32.const 8)))
    (loop $more
      (i32.store8 (local.get $at) (i32.add (i32.const 97) (i32.and (i32.load8_u (local.get $at)) (i32.const 15))))
      (br_if $more (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (local.get $end))))
    (i32.const 16))
  (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
