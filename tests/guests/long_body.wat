;; Sends one request with a body of 1.5 MiB.
(module
  (import "tidegate:destination/http@0.1.0" "send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (memory (export "memory") 32)
  (global $free (mut i32) (i32.const 4096))
  ;; A bump allocator that never frees: the instance lives for one call.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (data (i32.const 64) "POSThttps://partner.example/in")
  (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32)
    (call $send
      (i32.const 64) (i32.const 4) (i32.const 68) (i32.const 26) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1572864)
      (i32.const 256))
    (if (i32.eqz (i32.load8_u (i32.const 256))) (then (return (i32.const 0))))
    (i32.store8 (i32.const 16) (i32.const 2))
    (i32.store (i32.const 24) (i32.load (i32.const 264)))
    (i32.store (i32.const 28) (i32.load (i32.const 268)))
    (i32.const 16))
  (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
