# What is installed beside the programs, and Debian packages by CPack: see `./dev package`.
set(systemd_units ${CMAKE_INSTALL_PREFIX}/lib/systemd/system)
file(GLOB units CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cli/units/*.service
  ${PROJECT_SOURCE_DIR}/cli/units/*.timer ${PROJECT_SOURCE_DIR}/cli/units/*.socket)
install(FILES ${units} DESTINATION ${systemd_units} COMPONENT volseal)
install(FILES ${PROJECT_SOURCE_DIR}/cli/units/90-volseal.rules ${PROJECT_SOURCE_DIR}/cli/units/10-volseal-watch.rules
  DESTINATION ${CMAKE_INSTALL_PREFIX}/lib/udev/rules.d COMPONENT volseal)
install(FILES ${PROJECT_SOURCE_DIR}/core/policy/default.toml
  DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/volseal RENAME policy.toml COMPONENT volseal)
install(FILES ${PROJECT_SOURCE_DIR}/cli/volseal.bash
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME volseal COMPONENT volseal)
install(FILES ${PROJECT_SOURCE_DIR}/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT volseal)

file(GLOB pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/docs/man/*.[1-9])
foreach(page IN LISTS pages)
  cmake_path(GET page FILENAME name)
  string(REGEX MATCH "[0-9]$" section ${name})
  set(packed ${PROJECT_BINARY_DIR}/man/${name}.gz)
  add_custom_command(OUTPUT ${packed} DEPENDS ${page} VERBATIM
    COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/man
    COMMAND sh -c "gzip -9n <\"$1\" >\"$2\"" gzip ${page} ${packed})
  list(APPEND packed_pages ${packed})
  install(FILES ${packed} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT volseal)
endforeach()
add_custom_target(man ALL DEPENDS ${packed_pages})

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME volseal)
set(CPACK_PACKAGE_CONTACT "volseal maintainers <root@localhost>")
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL volseal volseal-initramfs)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_VOLSEAL_PACKAGE_NAME volseal)
# libtss2-tctildr0 loads the TCTI by its name; the programs are run by theirs.
set(CPACK_DEBIAN_VOLSEAL_PACKAGE_DEPENDS "libtss2-tcti-device0, e2fsprogs, util-linux")
set(CPACK_DEBIAN_VOLSEAL_PACKAGE_RECOMMENDS "cryptsetup, systemd, udev")
set(CPACK_DEBIAN_VOLSEAL_PACKAGE_SUGGESTS "libtss2-tcti-swtpm0, libengine-pkcs11-openssl")
set(CPACK_COMPONENT_VOLSEAL_DESCRIPTION "\
Finds every volume of a server that is not encrypted, encrypts it in place or by
formatting (LUKS2), seals its key to the TPM, keeps a recovery key, opens it at
boot without a prompt, watches for storage that is attached later, and reports.")
set(CPACK_DEBIAN_VOLSEAL_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(control ${PROJECT_SOURCE_DIR}/packaging/volseal)
set(CPACK_DEBIAN_VOLSEAL_PACKAGE_CONTROL_EXTRA
  ${control}/conffiles ${control}/postinst ${control}/prerm ${control}/postrm)

set(initramfs VOLSEAL-INITRAMFS)
set(CPACK_DEBIAN_${initramfs}_PACKAGE_NAME volseal-initramfs)
# The list of what to open comes from volseal itself, so both are of one version.
set(CPACK_DEBIAN_${initramfs}_PACKAGE_DEPENDS
  "volseal (= ${PROJECT_VERSION}), initramfs-tools, cryptsetup-initramfs, libtss2-tcti-device0")
set(CPACK_COMPONENT_${initramfs}_DESCRIPTION "\
Opens a server's encrypted root and data volumes in Debian's initramfs, by TPM and
without a prompt, after checking every header; closes the TPM to what runs later.")
set(CPACK_DEBIAN_${initramfs}_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(control ${PROJECT_SOURCE_DIR}/packaging/volseal-initramfs)
set(CPACK_DEBIAN_${initramfs}_PACKAGE_CONTROL_EXTRA ${control}/conffiles ${control}/triggers)
include(CPack)
